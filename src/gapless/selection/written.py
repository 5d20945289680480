"""A universe as it is written in gapless.toml, and the rules and measures that it means."""

from __future__ import annotations

import hashlib
import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from gapless.errors import GaplessError
from gapless.selection import LIQUIDITY, RANK, Bounds, Rules
from gapless.series import Instrument
from gapless.spans import Timeframe, parse_duration

# Names of tests that a measure of one's own cannot take.
_TAKEN = {"alive", "exclude", "include", "quote", "base", "type", "status", "listed_for", "traded", "per_base", "top",
          LIQUIDITY, "volatility", RANK}  # fmt: skip


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Bounded(_Closed):
    """What a value must lie between, both ends included; either may be left open."""

    min: float | None = Field(default=None, description="at least")
    max: float | None = Field(default=None, description="at most")

    @model_validator(mode="after")
    def _hold_something(self) -> _Bounded:
        least, most = self.bounds.least, self.bounds.most
        if not least <= most:
            raise ValueError(f"nothing is at least {least:g} and at most {most:g}")
        return self

    @property
    def bounds(self) -> Bounds:
        return Bounds(-math.inf if self.min is None else self.min, math.inf if self.max is None else self.max)


class WindowSection(_Bounded):
    """A usual measure over some days, and what it must lie between."""

    days: int = Field(default=30, ge=2, le=3650, description="over so many daily bars")


class MeasureSection(_Bounded):
    """Any feature as a test: between bounds; without bounds where it is true (not 0)."""

    expression: str = Field(description='a feature: "rsi(close, 14) @ 1d"')
    max: float | None = Field(default=None, description="at most; without both, 1 or more: a comparison that holds")

    @property
    def bounds(self) -> Bounds:
        return Bounds(least=1.0) if self.min is None and self.max is None else super().bounds


class UniverseSection(_Closed):
    """A named list of instruments, or what they must be like."""

    symbols: tuple[str, ...] = Field(default=(), strict=False, description="the list, or the candidates")
    venues: tuple[str, ...] = Field(default=(), strict=False, description="candidates are of these; empty: of all")
    quote: tuple[str, ...] = Field(default=(), strict=False, description="quote assets, the preferred one first")
    base: tuple[str, ...] = Field(default=(), strict=False, description="base assets")
    type: tuple[str, ...] = Field(default=(), strict=False, description="spot, perpetual, … as the venue says")
    status: tuple[str, ...] = Field(default=(), strict=False, description="as the venue says; where nobody looked, any")
    exclude: tuple[str, ...] = Field(default=(), strict=False, description="VENUE:SYMBOL or SYMBOL, with * and ?")
    include: tuple[str, ...] = Field(default=(), strict=False, description="members whatever the tests say")
    listed_for: str | None = Field(default=None, description="listed at least so long")
    liquidity: WindowSection | None = Field(default=None, description="median quote volume of a day")
    volatility: WindowSection | None = Field(default=None, description="standard deviation of daily log returns")
    tests: dict[str, MeasureSection] = Field(default={}, description="any feature")
    rank: str | None = Field(default=None, description="a feature to rank by, the highest first")
    ascending: bool = Field(default=False, description="the lowest first")
    per_base: bool = Field(default=False, description="one instrument of each base")
    top: int | None = Field(default=None, ge=1, description="members at most")
    timeframe: str = Field(default="1d", description="the bars of features that do not say theirs")
    every: str = Field(default="1d", description="how often who belongs may change")
    fresh: str = Field(default="7d", description="what did not trade for so long cannot be measured")
    adjust: Literal["none", "splits", "all"] = Field(default="splits", description="corporate actions, where known")

    @field_validator("symbols", "include")
    @classmethod
    def _instruments(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_checked(v, Instrument.parse) for v in value)

    @field_validator("listed_for", "every", "fresh")
    @classmethod
    def _durations(cls, value: str | None) -> str | None:
        return value if value is None else _checked(value, parse_duration)

    @field_validator("timeframe")
    @classmethod
    def _bars(cls, value: str) -> str:
        return _checked(value, Timeframe.parse)

    @model_validator(mode="after")
    def _says_something(self) -> UniverseSection:
        if not self.symbols and not self.selects:
            raise ValueError("give symbols, or what they must be like")
        taken = _TAKEN & set(self.tests)
        if taken:
            raise ValueError(f"a test cannot be called '{min(taken)}'")
        if self.ascending and self.rank is None:
            raise ValueError("ascending, and nothing to rank by")
        if parse_duration(self.every) <= 0 or parse_duration(self.fresh) <= 0:
            raise ValueError("every and fresh are above 0")
        return self

    @property
    def selects(self) -> bool:
        """Is there anything to select by, beyond a list?"""
        asks = (self.venues, self.quote, self.base, self.type, self.status, self.exclude, self.include, self.tests)
        return any(asks) or self.per_base or any(
            x is not None for x in (self.listed_for, self.liquidity, self.volatility, self.rank, self.top)
        )  # fmt: skip

    @property
    def measures(self) -> dict[str, str]:
        """What is computed of each candidate: a feature a name."""
        found = {name: test.expression for name, test in self.tests.items()}
        if self.liquidity:
            found[LIQUIDITY] = f"median(quote_volume, {self.liquidity.days}) @ 1d"
            found[TURNOVER] = f"median(close * volume, {self.liquidity.days}) @ 1d"
        if self.volatility:
            found["volatility"] = f"std(log_return(close, 1), {self.volatility.days}) @ 1d"
        return found | ({RANK: self.rank} if self.rank else {})

    @property
    def rules(self) -> Rules:
        """The declaration as the rules of a selection."""
        tests = {name: test.bounds for name, test in self.tests.items()}
        usual = {LIQUIDITY: self.liquidity, "volatility": self.volatility}
        tests |= {name: window.bounds for name, window in usual.items() if window}
        return Rules(
            self.quote, self.base, self.type, self.status, self.exclude, self.include,
            parse_duration(self.listed_for) if self.listed_for else 0,
            parse_duration(self.fresh) if self.measures else None,
            tests, self.rank is not None, self.ascending, self.per_base, self.top,
        )  # fmt: skip

    @property
    def digest(self) -> str:
        """Changes whenever the declaration does."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


TURNOVER = "turnover"  # what stands in for quote volume where a venue does not say it


def _checked(value: str, parse: object) -> str:
    assert callable(parse)
    try:
        parse(value)
    except GaplessError as error:
        raise ValueError(str(error)) from None
    return value
