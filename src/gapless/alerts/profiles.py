"""Profiles: how a signal is followed, as data.

Percentages are of the entry price (before entry: of the price at the signal) unless they say otherwise. Shares and
fractions lie between 0 and 1. Bars are counted in market time, on the timeframe of the signal.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gapless.alerts.conditions import Condition, canonical
from gapless.errors import GaplessError
from gapless.series import Instrument

T = TypeVar("T")


def _checked(read: Callable[[str], T]) -> Callable[[str], T]:
    """As pydantic wants its errors."""

    def check(text: str) -> T:
        try:
            return read(text)
        except GaplessError as error:
            raise ValueError(str(error)) from None

    return check


condition = lru_cache(maxsize=1024)(Condition.parse)  # frozen values: the same text is read once

Percent = Annotated[float, Field(gt=0, lt=100)]
Share = Annotated[float, Field(ge=0, le=1)]
Expression = Annotated[str, AfterValidator(_checked(canonical))]
Required = Annotated[str, AfterValidator(_checked(lambda text: str(condition(text))))]
Named = Annotated[str, AfterValidator(_checked(lambda text: str(Instrument.parse(text))))]


class Part(BaseModel):
    """A part of a profile: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Distance(Part):
    """How far from a price: so many ATR, or so many percent."""

    atr: float | None = Field(default=None, gt=0, description="times the average true range")
    percent: Percent | None = Field(default=None, description="percent of the entry price")

    @model_validator(mode="after")
    def _one_unit(self) -> Distance:
        if (self.atr is None) == (self.percent is None):
            raise ValueError("say either atr or percent")
        return self

    def of(self, price: float, atr: float) -> float:
        """The distance in price; NaN where it is counted in ATR and that is not known.

        >>> Distance(percent=2.0).of(50.0, float("nan")), Distance(atr=1.5).of(50.0, 2.0)
        (1.0, 3.0)
        """
        return self.atr * atr if self.atr is not None else price * (self.percent or 0.0) / 100


class StableFlow(Part):
    """The taker share has come to rest."""

    bars: int = Field(default=3, ge=2, le=1000, description="over so many bars, the current one included")
    move: Share = Field(description="highest less lowest share is at most this")
    dominance: Share | None = Field(default=None, description="and the signal's side holds at least this share")


class Dominance(Part):
    """The signal's side has lost the flow."""

    below: Share = Field(description="its share lay under this")
    bars: int = Field(default=2, ge=1, le=1000, description="on so many bars running, all after the signal's")


class Entry(Part):
    """When a pending signal is entered, at the close of the bar that triggers it. No trigger: at once."""

    need: Literal["all", "any"] = Field(default="all", description="how many of the triggers below")
    pullback: Percent | None = Field(default=None, description="the close came back this far from the best price")
    z_band: Annotated[tuple[float, float], Field(strict=False)] | None = Field(
        default=None, description="z has cooled down to between these, with the signal's sign"
    )
    flow: StableFlow | None = Field(default=None, description="the taker share has come to rest")
    expansion: Annotated[tuple[Literal["range", "return", "flow"], ...], Field(strict=False)] = Field(
        default=(), description="any of: close beyond the bar before, close-to-close return, flow, towards the signal"
    )
    expansion_bars: int = Field(default=2, ge=1, le=1000, description="bars running on which the flow must grow")
    min_wait: int = Field(default=0, ge=0, description="bars after the signal before it may be entered")
    max_wait: int = Field(default=10, ge=0, description="the last bar after the signal on which it may be entered")

    @model_validator(mode="after")
    def _in_order(self) -> Entry:
        if self.min_wait > self.max_wait:
            raise ValueError("min_wait lies above max_wait: nothing would ever be entered")
        if self.z_band is not None and not 0 <= self.z_band[0] < self.z_band[1]:
            raise ValueError("z_band is two numbers from 0 up, the smaller one first")
        return self


class Invalidation(Part):
    """What ends a pending signal."""

    flip: bool = Field(default=False, description="z changes its sign")
    z_floor: float | None = Field(default=None, gt=0, description="z falls under this, in the signal's direction")
    dominance: Dominance | None = Field(default=None, description="the signal's side loses the flow")
    structure: bool = Field(default=False, description="a close beyond the far end of the signal's bar")


class Filters(Part):
    """What must hold at the entry. Where it does not, the signal stays pending and may be entered later."""

    min_reward_risk: float | None = Field(default=None, gt=0, description="average target distance over stop distance")
    min_atr: Percent | None = Field(default=None, description="ATR in percent of the price")
    min_profit: Percent | None = Field(default=None, description="average target in percent, less the costs of a round")
    require: Annotated[tuple[Required, ...], Field(strict=False)] = Field(
        default=(), description="conditions that must hold of the instrument"
    )
    benchmark: Named | None = Field(default=None, description="the instrument that the next key is about")
    benchmark_require: Annotated[tuple[Required, ...], Field(strict=False)] = Field(
        default=(), description="conditions that must hold of the benchmark"
    )

    @model_validator(mode="after")
    def _both(self) -> Filters:
        if (self.benchmark is None) != (not self.benchmark_require):
            raise ValueError("benchmark and benchmark_require go together")
        return self


class Trail(Distance):
    """A stop that follows the best price since the entry."""

    activate: Percent = Field(description="begins when the best price is this far ahead")
    tighten_at: Percent | None = Field(default=None, description="from this far ahead on …")
    tighten: Share = Field(default=1.0, gt=0, description="… the distance is multiplied by this")

    @model_validator(mode="after")
    def _tightens(self) -> Trail:
        if (self.tighten_at is None) != (self.tighten == 1.0):
            raise ValueError("tighten_at and tighten (under 1) go together")
        return self


class Stop(Distance):
    """Where a position is given up."""

    at_least: Percent | None = Field(default=None, description="never nearer than this")
    at_most: Percent | None = Field(default=None, description="never farther than this")
    max_loss: Percent | None = Field(default=None, description="a second stop, so far from the entry; the nearer holds")
    break_even_after_partial: bool = Field(default=False, description="to the entry once a part was closed")
    break_even_at: Percent | None = Field(default=None, description="to the entry once the best price was so far ahead")
    trail: Trail | None = Field(default=None, description="follow the best price")

    @model_validator(mode="after")
    def _clamps(self) -> Stop:
        clamps = [c for c in (self.at_least, self.at_most) if c is not None]
        if clamps != sorted(clamps):
            raise ValueError("at_least lies above at_most")
        return self


class Target(Distance):
    """Where a part of a position is closed with a profit."""

    fraction: float = Field(default=1.0, gt=0, le=1, description="of the whole position")


class ZExit(Part):
    """The move is over: z, counted in the signal's direction, fell under ``below``."""

    below: float = Field(description="the bound; a changed sign lies under it too")
    full_at: float | None = Field(default=None, description="close all from this profit on (percent); unset: always")
    partial_at: float | None = Field(default=None, description="under that, close a part from this profit on")
    partial: float = Field(default=0.5, gt=0, lt=1, description="the part of what is left; once")

    @model_validator(mode="after")
    def _reachable(self) -> ZExit:
        if self.partial_at is not None and (self.full_at is None or self.partial_at >= self.full_at):
            raise ValueError("partial_at lies under full_at, or nothing is ever partly closed")
        return self


class FlowExit(Part):
    """The taker share turned against the position."""

    bars: int = Field(default=3, ge=1, le=1000, description="compared with the bar this many before")
    change: Share = Field(description="it moved against the position by at least this")


class Stale(Distance):
    """Too little profit for the time."""

    bars: int = Field(ge=1, description="bars after the entry; then the profit at the close is at least the distance")


class Exits(Part):
    """What closes a position at the close of a bar, in this order."""

    z: ZExit | None = Field(default=None, description="z came back")
    flow: FlowExit | None = Field(default=None, description="the flow turned")
    opposite: bool = Field(default=False, description="a signal of the other direction")
    opposite_z: float | None = Field(default=None, gt=0, description="z beyond this against the signal")
    max_bars: int | None = Field(default=None, ge=1, description="held so many bars")
    stale: Stale | None = Field(default=None, description="held long enough, and not far enough ahead")


class Costs(Part):
    """What one side of a trade costs, in basis points of its value."""

    fee: float = Field(default=0.0, ge=0, description="basis points")
    slippage: float = Field(default=0.0, ge=0, description="basis points")


class Profile(Part):
    """How signals are followed on paper; a rule names the profile that its alerts open."""

    z: Expression = Field(default="z_er_15m", description="the feature that z stands for")
    flow: Expression = Field(
        default="taker_buy_share_15m", description="the feature that the taker buy share stands for"
    )
    atr: Expression = Field(default="atr(10)", description="the average true range")
    several: bool = Field(default=False, description="allow more than one live position of an instrument")
    max_open: int | None = Field(default=None, ge=1, description="open positions at once, over all instruments")
    entry: Entry = Entry()
    invalidation: Invalidation = Invalidation()
    filters: Filters = Filters()
    stop: Stop
    targets: Annotated[tuple[Target, ...], Field(strict=False)] = ()
    exits: Exits = Exits()
    costs: Costs = Costs()

    @model_validator(mode="after")
    def _can_trade(self) -> Profile:
        if sum(t.fraction for t in self.targets) > 1 + 1e-9:
            raise ValueError("targets: the fractions come to more than 1")
        wants = [n for n in ("min_reward_risk", "min_profit") if getattr(self.filters, n) is not None]
        if wants and not self.targets:
            raise ValueError(f"filters.{wants[0]} needs targets")
        return self

    @model_validator(mode="after")
    def _reward(self) -> Profile:
        ratio, least = self._fixed_reward_risk(), self.filters.min_reward_risk
        if ratio is not None and least is not None and not reaches(ratio, least):
            raise ValueError(
                f"filters.min_reward_risk: the average target over the stop is always {ratio:.3g}, under {least:g}: "
                "nothing would ever be opened"
            )
        return self

    def _fixed_reward_risk(self) -> float | None:
        """The ratio where it follows from the profile alone: one unit, and no clamp or cap on the stop."""
        stop = self.stop
        if stop.at_least or stop.at_most or stop.max_loss or not self.targets:
            return None
        if any((t.atr is None) != (stop.atr is None) for t in self.targets):
            return None
        risk, *rewards = (d.of(100.0, 1.0) for d in (stop, *self.targets))
        return average([(r, t.fraction) for r, t in zip(rewards, self.targets, strict=True)]) / risk

    @property
    def cost(self) -> float:
        """Of one side, as a share of its value."""
        return (self.costs.fee + self.costs.slippage) / 10_000

    @property
    def needs_atr(self) -> bool:
        """Is any distance, or a filter, counted in ATR?"""
        distances = [self.stop, self.stop.trail, self.exits.stale, *self.targets]
        return self.filters.min_atr is not None or any(d is not None and d.atr is not None for d in distances)


def average(parts: list[tuple[float, float]]) -> float:
    """Of distances weighted by fractions.

    >>> average([(1.0, 0.25), (2.0, 0.25)])
    1.5
    """
    return sum(d * f for d, f in parts) / sum(f for _, f in parts) if parts else float("nan")


def reaches(value: float, bound: float) -> bool:
    """Is it at least the bound, but for rounding? False for NaN.

    >>> 0.3 / 0.1 >= 3, reaches(0.3 / 0.1, 3)
    (False, True)
    """
    return value >= bound - 1e-9 * abs(bound)


def level(price: float) -> float:
    """A stop or target without the dust of its computation, which a price in ticks would miss.

    >>> 1.1 + 2.2, level(1.1 + 2.2)
    (3.3000000000000003, 3.3)
    """
    return float(f"{price:.12g}")


BARS = ("open", "high", "low", "close")


def lagged(text: str, bars: int) -> str:
    """The expression for ``text``, so many bars before."""
    return f"lag({text}, {bars})"


def span_of(text: str, bars: int) -> str:
    """The expression for the highest less the lowest of ``text``."""
    return f"max({text}, {bars}) - min({text}, {bars})"


def inputs(profile: Profile) -> tuple[str, ...]:
    """The expressions a profile reads on every bar, each once, bars first.

    >>> inputs(Profile(stop=Stop(atr=1.5), entry=Entry(expansion=("range",))))
    ('open', 'high', 'low', 'close', 'atr(10)', 'lag(high, 1)', 'lag(low, 1)')
    """
    found = [*BARS, *([profile.atr] if profile.needs_atr else []), *_entry_inputs(profile), *_exit_inputs(profile)]
    wanted = (*profile.filters.require, *profile.filters.benchmark_require)
    return tuple(dict.fromkeys([*found, *(name for text in wanted for name in condition(text).inputs)]))


def _entry_inputs(profile: Profile) -> list[str]:
    entry, ends = profile.entry, profile.invalidation
    found = [profile.z] if entry.z_band or ends.flip or ends.z_floor else []
    if entry.flow:
        found += [profile.flow, span_of(profile.flow, entry.flow.bars)]
    if "range" in entry.expansion:
        found += [lagged("high", 1), lagged("low", 1)]
    if "return" in entry.expansion:
        found += [lagged("close", 1)]
    if "flow" in entry.expansion:
        found += [profile.flow, *(lagged(profile.flow, n + 1) for n in range(entry.expansion_bars))]
    if ends.dominance:
        found += [f"{which}({profile.flow}, {ends.dominance.bars})" for which in ("max", "min")]
    return found


def _exit_inputs(profile: Profile) -> list[str]:
    exits = profile.exits
    found = [profile.z] if exits.z or exits.opposite_z else []
    return found + ([profile.flow, lagged(profile.flow, exits.flow.bars)] if exits.flow else [])
