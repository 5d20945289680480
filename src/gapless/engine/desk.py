"""The desk: features, rules and positions of one timeframe, bar time by bar time.

There is one ``step``. Live bars, a restart, a late or corrected bar and a replay all go through it, so they cannot
disagree: what was decided is a function of the bars, not of how they came. No I/O here, and no clock.

A step: the features of the instruments that have a bar → the rules look at them → the alerts may open positions, which
follow the bars. Instruments without a bar do not step. A value outside its declared bounds is taken out (it is NaN for
the rules, and its row is not kept) and told.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from gapless.alerts.alert import Alert
from gapless.alerts.position import PositionEvent, compact
from gapless.alerts.positions import Elapsed, Positions
from gapless.alerts.profiles import Profile
from gapless.alerts.profiles import inputs as inputs_of
from gapless.alerts.rules import Rules
from gapless.bars import TS
from gapless.engine.barrier import FIELDS, Floats, Moment
from gapless.errors import UsageError
from gapless.features import plan
from gapless.features.planning import FeaturePlan
from gapless.features.stream import Stream
from gapless.spans import Timeframe

_MAGIC = b"gapless desk 1\n"
_INPUT = "input."  # features that only rules and positions look at; they are not stored


@dataclass(frozen=True)
class Duties:
    """What a desk looks after.

    ``features``: the columns to store, by name. ``inputs``: the texts that rules and positions look at, and the
    expression each of them is. ``opens``: the position profile that a rule's alerts open, by rule.
    """

    timeframe: Timeframe
    instruments: tuple[str, ...]
    features: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    opens: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decided:
    """What came of one bar time. ``rows``: the stored features of the instruments numbered ``who``."""

    ts: int
    who: npt.NDArray[np.int64]
    rows: Mapping[str, Floats]
    alerts: tuple[Alert, ...]
    events: tuple[PositionEvent, ...]
    outside: Mapping[str, npt.NDArray[np.int64]]  # feature → instruments whose value broke its bounds


@dataclass(frozen=True, slots=True)
class Memory:
    """All that a desk carries from one bar time to the next, after ``ts``."""

    ts: int
    arrays: Sequence[npt.NDArray[Any]]
    rules: bytes
    positions: tuple[PositionEvent, ...]


class Desk:
    """See the module's text. ``others`` are series that expressions name and that are not looked after themselves."""

    def __init__(self, duties: Duties, rules: Rules, profiles: Mapping[str, Profile], elapsed: Elapsed | None = None):
        self.duties, self.rules, self._profiles, self._elapsed = duties, rules, profiles, elapsed
        self._rule_names = {rule.name for rule in rules.rules}
        texts = tuple(duties.inputs)
        numbered = {f"{_INPUT}{i}": duties.inputs[text] for i, text in enumerate(texts)}
        self._texts = dict(zip(numbered, texts, strict=True))
        features = {**duties.features, **numbered} or {"close": "close"}
        self.plan: FeaturePlan = plan(features)
        self._features_of = features
        self.renew()
        named = {instrument for _, instrument in self.plan.others}
        self.others = tuple(sorted(named - set(duties.instruments)))
        self.instruments = duties.instruments + self.others
        self._number = {name: i for i, name in enumerate(self.instruments)}
        self._field = {name: i for i, name in enumerate(FIELDS)}
        self.follow((), None)

    @property
    def reads(self) -> set[str]:
        """The columns of bars that features, rules and positions look at."""
        looked_at = {text for rule in self.rules.rules for text in rule.inputs}
        looked_at |= {text for profile in self._profiles.values() for text in inputs_of(profile)}
        return {*self.plan.inputs, *(column for column, _ in self.plan.others), *(looked_at & set(FIELDS))}

    def number(self, instrument: str) -> int | None:
        """Its place in ``instruments``; None for a stranger."""
        return self._number.get(instrument)

    # ------------------------------------------------------------ one bar time

    def step(self, moment: Moment) -> Decided:
        """Decide one bar time, later than the last."""
        own = len(self.duties.instruments)
        present = moment.present[:own]
        who = np.flatnonzero(present)
        values, outside = self.features(moment, who)
        columns = {text: np.full(own, np.nan) for text in self._texts.values()}
        for name, text in self._texts.items():
            columns[text][who] = values[name]
        columns |= {name: moment.values[i, :own] for name, i in self._field.items() if name not in columns}
        alerts = tuple(self.rules.step(moment.ts, columns, present))
        opened = [(alert, profile) for alert in alerts if (profile := self._opens(alert))]
        events = tuple(self.positions.step(moment.ts, columns, present, opened))
        self._note(events)
        rows = {name: values[name] for name in self.duties.features}
        return Decided(moment.ts, who, rows, alerts, events, outside)

    def features(
        self, moment: Moment, who: npt.NDArray[np.int64]
    ) -> tuple[dict[str, Floats], dict[str, npt.NDArray[np.int64]]]:
        """The features of the instruments numbered ``who``, and who broke which one's bounds."""
        columns = {name: moment.values[self._field[name]][who] for name in self.plan.inputs if name in self._field}
        for column, instrument in self.plan.others:
            value = moment.values[self._field[column], self._number[instrument]]
            columns[f"{column}@{instrument}"] = np.full(len(who), value)
        values, outside = self.stream.step_columns(moment.ts, who, columns)
        for name, rows in outside.items():
            values[name][rows] = np.nan
        return values, {name: who[rows] for name, rows in outside.items()}

    def _opens(self, alert: Alert) -> str:
        return self.duties.opens.get(alert.rule, "") if alert.kind == "fired" and alert.direction else ""

    def _note(self, events: Sequence[PositionEvent]) -> None:
        """Follow which positions live; a signal that came to nothing gives its rule's cooldown back.

        But not one that found its instrument busy: its rule would fire again on every bar.
        """
        for event in events:
            story = self._open[event.position] = compact([*self._open.get(event.position, ()), event])
            if event.kind in ("invalidated", "expired") and event.reason != "busy":
                self.rules.release(str(story[0].data["rule"]), event.instrument, story[0].ts)
            if event.ends:
                del self._open[event.position]

    def table(self, decided: Decided) -> pl.DataFrame:
        """The rows to store: instrument, ts, features; without those that broke a bound."""
        names = np.array(self.duties.instruments, dtype=object)[decided.who]
        table = pl.DataFrame({"instrument": names.tolist(), "ts": np.full(len(names), decided.ts), **decided.rows})
        bad = {int(i) for name, rows in decided.outside.items() if name in decided.rows for i in rows}
        kinds = {name: kind for name, kind in self.plan.schema.items() if name in decided.rows}
        typed = table.with_columns(
            pl.col("ts").cast(TS),
            *(pl.col(n).fill_nan(None).cast(kind) for n, kind in kinds.items() if not kind.is_float()),
        )
        return typed.filter(~pl.Series([int(i) in bad for i in decided.who])) if bad else typed

    # ------------------------------------------------------------ memory

    def renew(self) -> None:
        """Features as before the first bar."""
        groups = self.duties.groups if self.plan.crossing else None
        self.stream = Stream(self._features_of, self.duties.instruments, groups=groups)

    def memory(self, ts: int) -> Memory:
        """A copy of everything, after the bar time ``ts``."""
        live = tuple(event for events in self._open.values() for event in events)
        return Memory(ts, self.stream.snapshot(), self.rules.state(), live)

    def revert(self, memory: Memory) -> None:
        """Be as the desk was when the memory was taken."""
        self.stream.revert(memory.arrays)
        self.rules.restore(memory.rules)
        self.follow(memory.positions, memory.ts)

    def follow(self, events: Sequence[PositionEvent], ts: int | None) -> None:
        """Follow the positions of these events and no others; ``ts`` is the bar time decided last.

        Those of an instrument or a profile that is not here now stay as they are, until it is here again.
        """
        self._open: dict[str, list[PositionEvent]] = {}
        for event in events:
            self._open.setdefault(event.position, []).append(event)
        self.positions = Positions(self._profiles, self.duties.instruments, self.duties.timeframe, self._elapsed)
        self.positions.restore([e for story in self._open.values() if self._known(story) for e in story], ts)

    def _known(self, story: Sequence[PositionEvent]) -> bool:
        """Can this position be followed?"""
        profile = str(story[0].data["profile"])
        return self._number.get(story[0].instrument, len(self.instruments)) < len(self.duties.instruments) and (
            profile in self._profiles
        )

    def pack(self, memory: Memory) -> bytes:
        """A memory as bytes, for ``unpack`` in another process."""
        head = {
            "ts": memory.ts,
            "plan": self.plan.version_all,
            "instruments": self.duties.instruments,
            "rules": memory.rules.hex(),
            "positions": [event.to_dict() for event in memory.positions],
        }
        text = json.dumps(head).encode()
        body = io.BytesIO()
        for array in memory.arrays:
            np.save(body, array, allow_pickle=False)
        return _MAGIC + struct.pack("<q", len(text)) + text + body.getvalue()

    def unpack(self, blob: bytes) -> tuple[Memory, bool]:
        """A packed memory, and whether its feature states are of these features and instruments.

        Where they are not, ``arrays`` is empty: features are warmed from the bars, rules and positions go on.
        Raises UsageError for bytes that are no memory.
        """
        if not blob.startswith(_MAGIC):
            raise UsageError("these bytes are no memory of a desk.", hint="it is made again from the bars")
        at = len(_MAGIC)
        (size,) = struct.unpack_from("<q", blob, at)
        head = json.loads(blob[at + 8 : at + 8 + size])
        same = head["plan"] == self.plan.version_all and tuple(head["instruments"]) == self.duties.instruments
        body = io.BytesIO(blob[at + 8 + size :])
        arrays = [np.load(body, allow_pickle=False) for _ in self.stream.snapshot()] if same else []
        events = tuple(PositionEvent.from_dict(event) for event in head["positions"])
        return Memory(head["ts"], arrays, bytes.fromhex(head["rules"]), events), same
