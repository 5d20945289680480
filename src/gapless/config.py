"""gapless.toml as frozen models. Every problem is reported at once, with its path; an unknown key is an error."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from datetime import date, time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from gapless.alerts.alert import Severity
from gapless.alerts.profiles import Profile
from gapless.alerts.rule import Rule
from gapless.alerts.throttle import Throttle
from gapless.alerts.written import AlertSection
from gapless.errors import ConfigError, GaplessError
from gapless.folds import DERIVED
from gapless.notify import template as templates
from gapless.notify.channel import Address, Channel
from gapless.notify.message import ALERT_FIELDS, Kind
from gapless.notify.outbox import LONGEST
from gapless.selection.written import UniverseSection
from gapless.series import Instrument
from gapless.spans import Timeframe, parse_duration

Derive = Literal["never", "gaps", "first"]  # when longer bars are folded from stored shorter ones
_GROUPING = re.compile(r"^[A-Za-z][A-Za-z0-9_]{0,99}\Z")  # what by="…" in an expression takes


class Section(BaseModel):
    """A part of the file: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LakeSection(Section):
    """Where bars are kept."""

    url: str = Field(default="lake", description="directory of the lake")
    patience: float = Field(default=60.0, ge=0, description="seconds a second writer waits for the first")


class VenueSection(Section):
    """What gapless cannot know of a venue by itself."""

    calendar: str | None = Field(default=None, description='"24/7", or a calendar such as "XNYS"')
    extended: bool = Field(default=False, description="expect bars before and after regular hours too")
    source: str | None = Field(default=None, description="the source to fetch this venue from")
    sources: tuple[str, ...] = Field(
        default=(), strict=False, description="several, the most trusted first: each fills what those before it lack"
    )

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> VenueSection:
        if self.source is not None and self.sources:
            raise ValueError("say either source or sources")
        if len(set(self.sources)) < len(self.sources):
            raise ValueError("a source stands twice in sources")
        return self


class OverrideSection(Section):
    """A date on which a calendar is wrong: closed, or other hours (UTC)."""

    date: Annotated[date, Field(strict=False)]
    closed: bool = False
    open: Annotated[time | None, Field(strict=False)] = None
    close: Annotated[time | None, Field(strict=False)] = None

    @model_validator(mode="after")
    def _says_something(self) -> OverrideSection:
        if self.closed == (self.open is not None or self.close is not None):
            raise ValueError("say either closed = true, or open and close times")
        return self


class CalendarSection(Section):
    """Corrections of one calendar."""

    overrides: tuple[OverrideSection, ...] = Field(default=(), strict=False)


class SourceSection(Section):
    """How to reach one source, and how hard to lean on it."""

    kind: str | None = Field(default=None, description="which vendor it is; the section's name if left out")
    base_url: str | None = Field(default=None, description="another address, for example a simulated venue")
    ws_url: str | None = Field(default=None, description="another address of its websocket")
    archive: str | None = Field(default=None, description='another address of its bulk files; "none": never use them')
    weight: int | None = Field(default=None, ge=0, description="request weight per minute to stay under; 0 = unlimited")
    concurrency: int | None = Field(default=None, ge=1, le=64, description="requests under way at once")
    key: SecretStr | None = Field(default=None, description='what opens it, or "env:NAME"; never shown or stored')
    adjusted: bool | None = Field(default=None, description="ask for prices with splits taken out, not as traded")
    browser: bool | None = Field(default=None, description="greet the server as a browser does; an extra may be needed")
    settle: str | None = Field(default=None, description="how long after its close a bar is final there")
    timeout: str = Field(default="20s", description="for one request")
    attempts: int = Field(default=8, ge=1, le=100, description="tries of one request before it fails")
    patience: str = Field(default="10m", description="the longest wait a source may ask for before the run gives it up")

    @field_validator("timeout", "patience", "settle")
    @classmethod
    def _durations(cls, value: str | None) -> str | None:
        return None if value is None else _checked(value, parse_duration)


class NotifySection(Section):
    """A channel: where messages go, and how. The address is never shown, stored or logged."""

    url: SecretStr = Field(description='an apprise URL, or "env:NAME" for the variable that holds it')
    title: str = Field(default="", description="of an alert's message, with {fields}; empty: the built-in one")
    template: str = Field(default="", description="an alert's message, with {fields}; empty: the built-in one")
    least: Severity = Field(default="info", description="least severity that is sent")
    kinds: tuple[Kind, ...] = Field(default=(), strict=False, description="kinds of messages; empty: all")
    rate: str = Field(default="20 per 1m", description="most messages in a time; what is beyond is sent as a group")
    attempts: int = Field(default=10, ge=1, le=100, description="tries of one message before it is given up")
    backoff: str = Field(default="2s", description="wait after the first failure, then twice as long each time")
    timeout: str = Field(default="10s", description="for the service to answer")

    @field_validator("url")
    @classmethod
    def _address(cls, value: SecretStr) -> SecretStr:
        _checked(value.get_secret_value(), Address)
        return value

    @field_validator("title", "template")
    @classmethod
    def _fields(cls, value: str) -> str:
        return _checked(value, lambda text: templates.check(text, ALERT_FIELDS))

    @field_validator("rate")
    @classmethod
    def _rate(cls, value: str) -> str:
        return _checked(value, Throttle.parse)

    @field_validator("backoff", "timeout")
    @classmethod
    def _waits(cls, value: str) -> str:
        _checked(value, parse_duration)
        if not 0 < parse_duration(value) <= LONGEST:
            raise ValueError(f"'{value}' is not between 1ms and {LONGEST // 60_000_000}m")
        return value

    @model_validator(mode="after")
    def _words_are_used(self) -> NotifySection:
        if (self.title or self.template) and self.kinds and not {"fired", "withdrawn"} & set(self.kinds):
            raise ValueError("title and template are for alerts, which kinds leaves out")
        return self

    def channel(self, name: str) -> Channel:
        """The channel that this section describes."""
        return Channel(
            name, Address(self.url.get_secret_value()), self.title, self.template, self.least, self.kinds,
            Throttle.parse(self.rate), self.attempts, parse_duration(self.backoff), parse_duration(self.timeout),
        )  # fmt: skip


class BackfillSection(Section):
    """Defaults of plan, backfill and repair."""

    timeframes: tuple[str, ...] = Field(default=("1m",), strict=False)
    max_concurrent: int = Field(default=8, ge=1, le=64)
    derive: Derive = Field(
        default="gaps", description="fold longer bars from stored shorter ones: where no source has them, or at first"
    )

    @field_validator("timeframes")
    @classmethod
    def _timeframes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_checked(v, Timeframe.parse) for v in value)


class LiveSection(Section):
    """What `gapless live` looks after, and how."""

    symbols: tuple[str, ...] = Field(default=(), strict=False, description="instruments; or universe")
    universe: str | None = Field(default=None, description="a list named under [universes]")
    timeframes: tuple[str, ...] = Field(default=("1m",), strict=False, description="each is streamed and decided")
    features: tuple[str, ...] | None = Field(
        default=None, strict=False, description="names under [features] whose rows are stored; all of them if left out"
    )
    history: str = Field(default="2d", description="what is fetched of a series that has nothing stored")
    grace: str = Field(default="3s", description="how long after its close a bar time waits for stragglers")
    verify: str = Field(default="1h", description="how often what came by stream is compared with REST")
    checkpoint: str = Field(default="1h", description="how often the desk's memory is kept for the next process")
    drain: str = Field(default="10s", description="the longest a stop may take")
    tell_within: str = Field(default="1h", description="an alert found out later than this is kept, not sent")

    @model_validator(mode="after")
    def _one_list(self) -> LiveSection:
        if self.symbols and self.universe:
            raise ValueError("symbols and universe are both given: one of them would do nothing")
        return self

    @field_validator("symbols")
    @classmethod
    def _instruments(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_checked(v, Instrument.parse) for v in value)

    @field_validator("timeframes")
    @classmethod
    def _timeframes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_checked(v, Timeframe.parse) for v in value)

    @field_validator("history", "grace", "verify", "checkpoint", "drain", "tell_within")
    @classmethod
    def _durations(cls, value: str) -> str:
        return _checked(value, parse_duration)


class Config(Section):
    """The whole file."""

    lake: LakeSection = LakeSection()
    backfill: BackfillSection = BackfillSection()
    venues: dict[str, VenueSection] = {}
    calendars: dict[str, CalendarSection] = {}
    sources: dict[str, SourceSection] = {}
    universes: dict[str, UniverseSection] = {}
    features: dict[str, str] = {}
    notify: dict[str, NotifySection] = {}
    live: LiveSection = LiveSection()
    groups: dict[str, dict[str, str]] = {}
    alerts: dict[str, AlertSection] = {}
    positions: dict[str, Profile] = {}

    @field_validator("sources")
    @classmethod
    def _source_names(cls, value: dict[str, SourceSection]) -> dict[str, SourceSection]:
        taken = [name for name in value if name.startswith(DERIVED)]
        if taken:
            raise ValueError(f"'{taken[0]}' cannot name a source: bars folded from stored ones are called so")
        return value

    @field_validator("groups")
    @classmethod
    def _groupings(cls, value: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        for name, group in value.items():
            if not _GROUPING.match(name):
                raise ValueError(f"'{name}' cannot name a grouping: letters, digits and _, a letter first")
            for instrument in group:
                _checked(instrument, Instrument.parse)
        return value

    @field_validator("alerts")
    @classmethod
    def _rule_names(cls, value: dict[str, AlertSection]) -> dict[str, AlertSection]:
        for name, section in value.items():
            _checked(name, section.rule)
        return value

    @field_validator("positions")
    @classmethod
    def _profile_names(cls, value: dict[str, Profile]) -> dict[str, Profile]:
        bad = [name for name in value if not _GROUPING.match(name)]
        if bad:
            raise ValueError(f"'{bad[0]}' cannot name a profile: letters, digits and _, a letter first")
        return value

    def rules(self) -> tuple[Rule, ...]:
        """The rules of ``[alerts.NAME]``, in the order of the file."""
        return tuple(section.rule(name) for name, section in self.alerts.items())

    def channels(self) -> dict[str, Channel]:
        """Every channel of the file, by name."""
        return {name: section.channel(name) for name, section in self.notify.items()}

    def venue_calendars(self) -> dict[str, str]:
        """Calendar per venue, where the file names one."""
        return {name: v.calendar for name, v in self.venues.items() if v.calendar}


def _checked(value: str, parse: Any) -> str:
    try:
        parse(value)
    except GaplessError as error:
        raise ValueError(str(error)) from None
    return value


def find(path: str | Path | None = None) -> Path | None:
    """The file to read: the one given, $GAPLESS_CONFIG, or ./gapless.toml where it exists."""
    if path is not None:
        return Path(path)
    named = os.environ.get("GAPLESS_CONFIG")
    if named:
        return Path(named)
    return Path("gapless.toml") if Path("gapless.toml").exists() else None


def load(path: str | Path | None = None) -> Config:
    """Read the configuration; defaults where there is no file. Raises ConfigError with every problem."""
    found = find(path)
    if found is None:
        return Config()
    try:
        data = tomllib.loads(found.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{found} cannot be read: {error.strerror}.", hint="`gapless init` writes one") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{found} is not TOML: {error}.", hint="mind quotes and brackets") from None
    return parse(data, str(found))


def parse(data: dict[str, Any], name: str = "gapless.toml") -> Config:
    """A configuration from decoded TOML."""
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        problems = [_describe(e) for e in error.errors()]
        raise ConfigError(
            f"{name} has {len(problems)} problem{'s' * (len(problems) > 1)}:\n  " + "\n  ".join(problems) + "\n",
            hint="`gapless init` writes a commented example",
        ) from None


def _describe(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "tuple_type":  # what TOML calls an array
        return f'{where}: is a list; write ["…"], also of one'
    if error["type"] != "extra_forbidden":
        return f"{where}: {error['msg'].removeprefix('Value error, ')}"
    near = difflib.get_close_matches(str(error["loc"][-1]), _keys_beside(error["loc"]), n=1, cutoff=0.5)
    return f"{where}: unknown key" + (f"; did you mean '{near[0]}'?" if near else "")


def _keys_beside(location: tuple[Any, ...]) -> list[str]:
    """The keys that are known where an unknown one was found."""
    model: Any = Config
    for part in location[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        annotation = field.annotation if field else model
        arguments = getattr(annotation, "__args__", ())
        model = arguments[-1] if arguments and isinstance(arguments[-1], type) else annotation
        if arguments and arguments[0] is not str and isinstance(arguments[0], type):
            model = arguments[0]
    return list(getattr(model, "model_fields", {}))


EXAMPLE = """# gapless.toml: every key is optional, every unknown key is an error.

[lake]
url = "lake"                  # directory; --lake and $GAPLESS_LAKE come first
patience = 60.0               # seconds a second writer waits for the first

[backfill]
timeframes = ["1m"]           # used when --timeframes is not given
max_concurrent = 8            # requests under way at once
derive = "gaps"               # what no source has is folded from shorter bars; or "never"; or "first": before asking

# [sources.binance]           # also: binance-usdm
# base_url = "http://127.0.0.1:8900"   # for example a simulated venue: gapless sim --port 8900
# weight = 6000               # request weight a minute to stay under; 0 = unlimited
# timeout = "20s"
# attempts = 8
# patience = "10m"            # the longest ban or Retry-After to sit out

# [universes.majors]
# symbols = ["BINANCE:BTCUSDT", "BINANCE:ETHUSDT"]

# [universes.liquid]          # or what they must be like: gapless universe select liquid
# quote = ["USDT"]
# liquidity = { days = 30, min = 1e6 }
# top = 50

# [venues.MYVENUE]            # for venues gapless does not know
# calendar = "24/7"           # or an exchange calendar: "XNYS", "CMES", …
# extended = false            # true: expect bars before and after regular hours too
# sources = ["a", "b"]        # where to fetch it, best first: each fills what those before it lack

# [calendars.XNYS]
# overrides = [{ date = 2025-01-09, closed = true }]

# [features]
# rsi14 = "rsi(close, 14)"
# trend = "ema(close, 50) - ema(close, 200)"

# [live]                      # what `gapless live` looks after
# universe = "majors"         # or symbols = ["BINANCE:BTCUSDT"]
# timeframes = ["1m"]

# [groups.sector]             # for features that compare instruments: demean(close, by="sector")
# "BINANCE:BTCUSDT" = "L1"

# [alerts.spike]              # a rule: told when its condition holds, once an hour and instrument
# when = "abs(zscore(log_return(close, 15), 720)) >= 3 and zscore(volume, 720) >= 3"
# direction = "log_return(close, 15)"
# cooldown = "1h"
# opposite_cooldown = "15m"   # after a firing in the other direction

# [notify.ops]                # told of alerts, positions and the feed's health; pip install 'gapless[notify]'
# url = "env:OPS_URL"         # export OPS_URL=tgram://TOKEN/CHAT, slack://…, mailto://…, json://host/path
# least = "warning"
# rate = "20 per 1m"          # what is beyond is sent as a group
"""
