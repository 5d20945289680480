"""Which instruments belong to a universe at a time: filters, one per base, ranking. Pure: what is measured comes in.

1. Every candidate is put through every test, and keeps the outcome and the value of each: alive, excluded, quote, base,
   type, status, age, traded of late, and each measure against its bounds. What is missing fails.
2. Of those that passed, one per base stays where that is asked for: by the order of quotes, then the most liquid.
3. The rest are ranked, and the first so many are members. Instruments that are to be included are members while they
   live, and take places of these.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from gapless.spans import DAY

LIQUIDITY, RANK = "liquidity", "rank"
_MULTIPLES = re.compile(r"^(?:1000+|1M)(?=[A-Z])")  # 1000SHIB is a thousand SHIB


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a measure must lie between, both ends included."""

    least: float = -math.inf
    most: float = math.inf

    def hold(self, value: float) -> bool:
        """Is it inside? NaN never is."""
        return self.least <= value <= self.most


@dataclass(frozen=True, slots=True)
class Rules:
    """A universe, as it is declared; what is empty asks nothing."""

    quotes: tuple[str, ...] = ()  # the preferred one first
    bases: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()  # VENUE:SYMBOL or SYMBOL, with * and ?
    include: tuple[str, ...] = ()
    listed_for: int = 0  # µs
    traded_within: int | None = None  # µs; the last bar must not be older
    measures: Mapping[str, Bounds] = field(default_factory=dict)
    ranked: bool = False
    ascending: bool = False
    per_base: bool = False
    top: int | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """What was true of an instrument at the time."""

    instrument: str
    alive: bool = True
    base: str = ""
    quote: str = ""
    type: str = ""
    status: str = ""  # "": nobody looked then
    age: int | None = None  # µs since the listing
    idle: int | None = None  # µs since its last final bar; None: there is none
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test: whether it was passed, and what was looked at."""

    passed: bool
    value: Any = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A candidate, whether it is a member, its place among those that were ranked, and every test."""

    instrument: str
    member: bool
    place: int | None
    tests: Mapping[str, Outcome]

    def to_dict(self) -> dict[str, Any]:
        """As JSON: a value that is missing is null."""
        tests = {n: {"passed": o.passed, "value": _written(o.value)} for n, o in self.tests.items()}
        return {"instrument": self.instrument, "member": self.member, "place": self.place, "tests": tests}


def _written(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def select(rules: Rules, candidates: Iterable[Candidate]) -> list[Verdict]:
    """A verdict on each candidate: members by their place, then the others by name.

    >>> found = select(Rules(quotes=("USDT",), top=1), [Candidate("X:B", quote="USDT"), Candidate("X:A", quote="EUR")])
    >>> [(v.instrument, v.member, v.tests["quote"].value) for v in found]
    [('X:B', True, 'USDT'), ('X:A', False, 'EUR')]
    """
    known = sorted(candidates, key=_name)
    tests = {c.instrument: _examine(rules, c) for c in known}
    ensured = {c.instrument: c for c in known if c.alive and c.instrument in rules.include}
    passed = [c for c in known if c.instrument not in ensured and all(o.passed for o in tests[c.instrument].values())]
    if rules.per_base:
        passed = _one_per_base(rules, passed, [base_of(c.base) for c in ensured.values()], tests)
    order = _ranked(rules, ensured.values()) + _ranked(rules, passed)
    places = {c.instrument: at for at, c in enumerate(order, 1)}
    for name in ensured:
        tests[name]["include"] = Outcome(True)
    found = [_verdict(rules, name, places.get(name), own) for name, own in tests.items()]
    return sorted(found, key=lambda v: (not v.member, v.place or math.inf, v.instrument))


def _name(candidate: Candidate) -> str:
    return candidate.instrument


def _verdict(rules: Rules, name: str, place: int | None, tests: dict[str, Outcome]) -> Verdict:
    member = place is not None
    if rules.top is not None and place is not None and "include" not in tests:
        member = place <= rules.top
        tests["top"] = Outcome(member, place)
    return Verdict(name, member, place, tests)


def _examine(rules: Rules, c: Candidate) -> dict[str, Outcome]:
    """Step 1; only tests that ask something."""
    found = {"alive": Outcome(c.alive)}
    if rules.exclude:
        pattern = next((p for p in rules.exclude if matches(p, c.instrument)), None)
        found["exclude"] = Outcome(pattern is None, pattern)
    for name, allowed, value in _words(rules, c):
        if allowed:
            found[name] = Outcome(value in allowed or (name == "status" and not value), value)
    if rules.listed_for:
        found["listed_for"] = Outcome(c.age is not None and c.age >= rules.listed_for, _days(c.age))
    if rules.traded_within is not None:
        found["traded"] = Outcome(c.idle is not None and c.idle <= rules.traded_within, _days(c.idle))
    for name, bounds in rules.measures.items():
        measured = c.values.get(name, math.nan)
        found[name] = Outcome(bounds.hold(measured), measured)
    if rules.ranked:
        measured = c.values.get(RANK, math.nan)
        found[RANK] = Outcome(not math.isnan(measured), measured)
    return found


def _words(rules: Rules, c: Candidate) -> list[tuple[str, tuple[str, ...], str]]:
    return [
        ("quote", rules.quotes, c.quote), ("base", rules.bases, c.base),
        ("type", rules.types, c.type), ("status", rules.statuses, c.status),
    ]  # fmt: skip


def _days(micros: int | None) -> float | None:
    return None if micros is None else round(micros / DAY, 3)


def matches(pattern: str, instrument: str) -> bool:
    """Does a pattern mean an instrument? Without a venue it means the symbol, wherever it trades.

    >>> matches("*DOWNUSDT", "BINANCE:BTCDOWNUSDT"), matches("BINANCE:USDC*", "BINANCEUSDM:USDCUSDT")
    (True, False)
    """
    return fnmatchcase(instrument if ":" in pattern else instrument.partition(":")[2], pattern)


def base_of(base: str) -> str:
    """What is really traded: 1000SHIB and 1MBABYDOGE are counted in thousands and millions.

    >>> base_of("1000SHIB"), base_of("1MBABYDOGE"), base_of("1INCH")
    ('SHIB', 'BABYDOGE', '1INCH')
    """
    return _MULTIPLES.sub("", base)


def _one_per_base(
    rules: Rules, passed: Sequence[Candidate], taken: Sequence[str], tests: Mapping[str, dict[str, Outcome]]
) -> list[Candidate]:
    """Step 2; a base that is not known is nobody else's."""
    kept: dict[str, str] = {base: "included" for base in taken if base}
    found = []
    for c in sorted(passed, key=_preference(rules)):
        base = base_of(c.base) or c.instrument
        first = base not in kept
        tests[c.instrument]["per_base"] = Outcome(first, kept.setdefault(base, c.instrument))
        found += [c] if first else []
    return found


def _preference(rules: Rules) -> Callable[[Candidate], tuple[Any, ...]]:
    def key(c: Candidate) -> tuple[Any, ...]:
        quote = rules.quotes.index(c.quote) if c.quote in rules.quotes else len(rules.quotes)
        liquidity = c.values.get(LIQUIDITY, math.nan)
        return quote, 0.0 if math.isnan(liquidity) else -liquidity, c.instrument

    return key


def _ranked(rules: Rules, candidates: Iterable[Candidate]) -> list[Candidate]:
    """Step 3: by the ranking measure, equals by name; by name alone where nothing ranks."""

    def key(c: Candidate) -> tuple[float, str]:
        value = c.values.get(RANK, math.nan) if rules.ranked else 0.0
        return math.inf if math.isnan(value) else value if rules.ascending else -value, c.instrument

    return sorted(candidates, key=key)
