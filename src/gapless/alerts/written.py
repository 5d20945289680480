"""A rule as it is written in gapless.toml, under ``[alerts.NAME]``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, model_validator

from gapless.alerts.alert import Severity
from gapless.alerts.conditions import Condition, canonical
from gapless.alerts.quiet import Quiet
from gapless.alerts.rule import SEVERITIES, Rule, Spread
from gapless.alerts.throttle import Throttle
from gapless.errors import ConfigError, GaplessError, UnknownName
from gapless.series import Instrument
from gapless.spans import Timeframe, parse_duration


def _read_by(parse: Callable[[str], Any]) -> AfterValidator:
    """Text that ``parse`` can read."""

    def check(text: str) -> str:
        try:
            parse(text)
        except GaplessError as error:
            raise ValueError(str(error)) from None
        return text

    return AfterValidator(check)


def _direction(text: str) -> str:
    """One of the two words, or a feature."""
    return text if text in ("", "up", "down") else canonical(text)


def _severity(value: object) -> object:
    """A word, or a word for each level."""
    words = list(value.values()) if isinstance(value, Mapping) else [value]
    for word in words:
        if word not in SEVERITIES:
            raise ValueError(str(UnknownName("severity", str(word), SEVERITIES)))
    return value


Written = Annotated[str, _read_by(Condition.parse)]
Duration = Annotated[str, _read_by(parse_duration)]


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SpreadSection(_Closed):
    """When others of a group follow a firing."""

    group: str = Field(description="a grouping of [groups.NAME]")
    window: Duration = Field(default="2h", description="how long others may take")
    when: Written | None = Field(default=None, description="what makes a follower; the rule's own when left out")
    followers: int = Field(default=2, ge=1, description="at least so many")
    share: float = Field(default=0.0, ge=0, le=1, description="at least this part of the group's other members")
    severity: Severity | None = Field(default=None, description="the rule's when left out")

    def spread(self, when: str) -> Spread:
        condition = Condition.parse(self.when or when)
        return Spread(
            self.group, parse_duration(self.window), condition, self.followers, self.share, self.severity or ""
        )


class AlertSection(_Closed):
    """One rule; ``rule`` makes it."""

    when: Written = Field(description="a condition over features")
    timeframe: Annotated[str, _read_by(Timeframe.parse)] = "1m"
    instruments: tuple[Annotated[str, _read_by(Instrument.parse)], ...] = Field(default=(), strict=False)
    direction: Annotated[str, _read_by(_direction)] = ""
    for_bars: int = Field(default=1, ge=1)
    cooldown: Duration = "1h"
    opposite_cooldown: Duration | None = None
    cooldown_on: Literal["fired", "opened"] = "fired"
    confirm: dict[str, Written] = {}
    levels: dict[str, Annotated[int, Field(ge=1)]] = {}
    spread: SpreadSection | None = None
    severity: Annotated[Severity | Mapping[str, Severity], PlainValidator(_severity)] = "warning"
    throttle: Annotated[str, _read_by(Throttle.parse)] | None = None
    quiet: tuple[Annotated[str, _read_by(Quiet.parse)], ...] = Field(default=(), strict=False)
    notify: tuple[str, ...] = Field(default=(), strict=False)
    opens: str = ""

    @model_validator(mode="after")
    def _goes_together(self) -> AlertSection:
        try:
            self.rule("rule")
        except ConfigError as error:
            raise ValueError(error.message.removeprefix("rule 'rule': ").rstrip(".")) from None
        return self

    def rule(self, name: str) -> Rule:
        """The rule of this name. Raises ConfigError where settings do not go together."""
        return Rule(
            name=name,
            when=Condition.parse(self.when),
            timeframe=Timeframe.parse(self.timeframe),
            instruments=tuple(str(Instrument.parse(n)) for n in self.instruments),
            direction=_direction(self.direction),
            for_bars=self.for_bars,
            cooldown=parse_duration(self.cooldown),
            opposite_cooldown=None if self.opposite_cooldown is None else parse_duration(self.opposite_cooldown),
            cooldown_on=self.cooldown_on,
            confirm={n: Condition.parse(text) for n, text in self.confirm.items()},
            levels=self.levels,
            spread=self.spread.spread(self.when) if self.spread else None,
            severity=self.severity,
            throttle=Throttle.parse(self.throttle) if self.throttle else None,
            quiet=tuple(Quiet.parse(text) for text in self.quiet),
            notify=self.notify,
            opens=self.opens,
        )
