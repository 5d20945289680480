"""Of which stored sets a request is made: a column that some set holds in the same version is not computed again.

1. Every set is known by its columns' versions: definition, parameters, inputs, type, kernels. Names do not count.
2. The set that holds most of what is wanted is taken, then the one that holds most of the rest, and so on; but none of
   which more columns would be kept up for nothing than are wanted.
3. What no set holds is a set of its own.

So a feature that is added or changed costs itself; the other columns stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gapless.errors import UsageError
from gapless.features import plan as understand
from gapless.features.planning import FeaturePlan
from gapless.protocols import FeatureStore
from gapless.spans import Timeframe

Definitions = Mapping[str, tuple[str, str]]  # column → expression, version


@dataclass(frozen=True)
class Part:
    """One set's plan, and which of its columns are wanted: wanted name → column."""

    plan: FeaturePlan
    columns: Mapping[str, str]

    @property
    def name(self) -> str:
        return set_name(self.plan)

    @property
    def wanted(self) -> FeaturePlan:
        """The wanted columns alone."""
        return understand({column: self.plan.expression(column) for column in self.columns.values()})


def set_name(plan: FeaturePlan) -> str:
    """The name of the set of these features: their versions, so that another definition is another set."""
    return f"set-{plan.version_all}"


def definitions(plan: FeaturePlan) -> dict[str, tuple[str, str]]:
    """What a store remembers of a set."""
    return {name: (plan.expression(name), plan.version(name)) for name in plan.names}


def parts(store: FeatureStore, plan: FeaturePlan, timeframe: Timeframe) -> list[Part]:
    """The sets that hold, or will hold, the features of a plan."""
    missing = {name: plan.version(name) for name in plan.names}
    found: list[Part] = []
    for columns in _most_wanted_first(store.feature_sets(timeframe).values(), missing):
        held = _held(columns, missing)
        whole = _understood(columns, plan) if held and len(columns) <= 2 * len(held) else None
        if whole is not None:
            found.append(Part(whole, held))
            missing = {name: version for name, version in missing.items() if name not in held}
    if missing:
        rest = plan if not found else understand({n: plan.expression(n) for n in missing})
        found.append(Part(rest, {n: n for n in missing}))
    return found


def _most_wanted_first(sets: Iterable[Definitions], missing: Mapping[str, str]) -> list[Definitions]:
    """Of equal ones the smaller, then by what they are, so that every call chooses alike."""
    return sorted(sets, key=lambda columns: (-len(_held(columns, missing)), len(columns), sorted(columns.items())))


def _held(columns: Definitions, missing: Mapping[str, str]) -> dict[str, str]:
    """Wanted name → column of the same version."""
    by_version = {version: column for column, (_, version) in columns.items()}
    return {name: by_version[version] for name, version in missing.items() if version in by_version}


def _understood(columns: Definitions, wanted: FeaturePlan) -> FeaturePlan | None:
    """The plan of a stored set; None for one that these kernels, or this catalogue, no longer make."""
    if definitions(wanted) == columns and [*wanted.names] == [*columns]:
        return wanted  # understanding forty features takes as long as computing a week of them
    try:
        plan = understand({column: expression for column, (expression, _) in columns.items()})
    except UsageError:
        return None
    same = all(plan.version(column) == version for column, (_, version) in columns.items())
    return plan if same else None
