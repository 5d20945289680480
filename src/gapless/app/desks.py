"""Desks from the configuration: which features, rules and position profiles look after which instruments.

Names under ``[features]`` may stand in rules and profiles, and in each other: they are replaced by what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from gapless.alerts.profiles import inputs as profile_inputs
from gapless.alerts.rule import Rule, check_names
from gapless.alerts.rules import Rules
from gapless.app.reading import own_bars
from gapless.bars import SCHEMA
from gapless.config import Config
from gapless.engine.desk import Desk, Duties
from gapless.errors import ConfigError, UnknownName, UsageError
from gapless.features import plan
from gapless.series import Instrument
from gapless.spans import Timeframe

_WORD = re.compile(r"(?<![\w.@:\"'])([A-Za-z_]\w*)(?![\w(:\"'])")


def expand(text: str, meanings: Mapping[str, str], inside: tuple[str, ...] = ()) -> str:
    """An expression with every name of ``[features]`` replaced by what it means.

    A name inside its own meaning is the library's: ``r_1m = "r_1m"`` is no circle.

    >>> expand("abs(fast - slow) > close", {"fast": "ema(close, 5)", "slow": "ema(fast, 9)"})
    'abs((ema(close, 5)) - (ema((ema(close, 5)), 9))) > close'
    """

    def meaning(word: re.Match[str]) -> str:
        name = word[1]
        if name not in meanings or name in inside:
            return name
        return f"({expand(meanings[name], meanings, (*inside, name))})"

    return _WORD.sub(meaning, text)


def desk(config: Config, timeframe: Timeframe, instruments: Sequence[str], *, features: Sequence[str] | None) -> Desk:
    """The desk of one timeframe. ``features``: names under ``[features]`` to store; all of the timeframe if None."""
    rules = [rule for rule in config.rules() if rule.timeframe == timeframe]
    check_names(rules, groups=config.groups, channels=config.notify, profiles=config.positions)
    meanings = {name: text for name, text in config.features.items() if own_bars(text)[1] is None}
    elsewhere = {r.opens for r in config.rules() if r not in rules} - {r.opens for r in rules}
    # all others: a position goes on to its exit though its rule may be gone
    profiles = {name: profile for name, profile in config.positions.items() if name not in elsewhere}
    texts = [text for rule in rules for text in rule.inputs]
    texts += [text for profile in profiles.values() for text in profile_inputs(profile)]
    named = dict.fromkeys(text for text in texts if text not in SCHEMA)
    duties = Duties(
        timeframe,
        tuple(instruments),
        features={name: expand(text, meanings, (name,)) for name, text in _stored(config, timeframe, features).items()},
        inputs={text: expand(text, meanings) for text in named},
        opens={rule.name: rule.opens for rule in rules if rule.opens},
        groups=config.groups,
    )
    _check(rules, duties, meanings)
    return Desk(duties, Rules(rules, instruments, timeframe, config.groups), profiles)


def _stored(config: Config, timeframe: Timeframe, names: Sequence[str] | None) -> dict[str, str]:
    unknown = [name for name in names or () if name not in config.features]
    if unknown:
        raise UnknownName("feature of gapless.toml", unknown[0], config.features)
    found = {}
    for name, text in config.features.items():
        body, bars = own_bars(text)
        if (names is None or name in names) and bars in (None, timeframe):
            found[name] = body
    return found


def _check(rules: Sequence[Rule], duties: Duties, meanings: Mapping[str, str]) -> None:
    """Every text that is looked at can be computed: told with the rule that names it."""
    for text, expression in duties.inputs.items():
        try:
            plan({"x": expression})
        except UsageError as error:
            owner = next((f"alerts.{r.name}" for r in rules if text in r.inputs), "positions")
            if isinstance(error, UnknownName) and error.kind == "column":  # it may be one of [features], misspelt
                error.hint = UnknownName(error.kind, error.name, [*meanings, *error.known]).hint
            said = error.message.removeprefix("feature 'x': ")
            raise ConfigError(f"{owner}: '{text}': {said}", hint=error.hint) from None


def unwatched(rules: Iterable[Rule], instruments: Sequence[str]) -> dict[str, list[str]]:
    """The instruments that rules name and that are not among these, by rule."""
    found = {rule.name: sorted(set(rule.instruments) - set(instruments)) for rule in rules}
    return {name: strangers for name, strangers in found.items() if strangers}


def check_watched(rules: Iterable[Rule], instruments: Sequence[str]) -> None:
    """Raise ConfigError, listing all, when rules name instruments that nobody looks after."""
    problems = [
        f"alerts.{name}: {stranger} is not watched" + (f"; did you mean {near[0]}?" if near else "")
        for name, strangers in unwatched(rules, instruments).items()
        for stranger in strangers
        for near in [get_close_matches(stranger, instruments, n=1, cutoff=0.8)]
    ]
    if problems:
        hint = "add it to what is looked after ([live] symbols or universe), or take it out of the rule"
        raise ConfigError("rules name instruments that are not watched:\n  " + "\n  ".join(problems) + "\n", hint=hint)


def venues(instruments: Sequence[str]) -> dict[str, list[str]]:
    """Instruments by venue."""
    found: dict[str, list[str]] = {}
    for name in instruments:
        found.setdefault(Instrument.parse(name).venue, []).append(name)
    return found
