"""Which calendar and which source a venue has: built in, unless the configuration says otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gapless.calendars import MarketCalendar, Override, calendar, venue_calendar
from gapless.config import CalendarSection, Config, SourceSection
from gapless.errors import UnknownName, UsageError
from gapless.protocols import Source
from gapless.sources import binance
from gapless.spans import SECOND, parse_duration

if TYPE_CHECKING:
    from gapless.engine.fetch import Patience

_SOURCES = {"BINANCE": "binance", "BINANCEUSDM": "binance-usdm"}


def market(config: Config, venue: str) -> MarketCalendar:
    """The calendar of a venue, with the configured overrides; UnknownName with the fix for a venue nobody knows."""
    name = venue_calendar(venue, config.venue_calendars())
    section = config.calendars.get(name, CalendarSection())
    overrides = [
        Override(
            str(o.date),
            closed=o.closed,
            open=o.open.strftime("%H:%M") if o.open else "",
            close=o.close.strftime("%H:%M") if o.close else "",
        )
        for o in section.overrides
    ]
    extended = name != "24/7" and venue in config.venues and config.venues[venue].extended
    return calendar(name, overrides=overrides, extended=extended)


def source_name(config: Config, venue: str) -> str:
    """The source a venue is fetched from."""
    section = config.venues.get(venue)
    name = (section.source if section else None) or _SOURCES.get(venue)
    if name is None:
        raise UsageError(
            f"gapless knows no source for venue {venue}.",
            hint=f"give --source, or set source under [venues.{venue}] in gapless.toml; files: gapless import",
        )
    return name


def source(config: Config, name: str, *, base_url: str | None = None) -> Source:
    """The source called ``name``, as configured; ``base_url`` overrides the configured address."""
    section = config.sources.get(name, SourceSection())
    kind = section.kind or name
    makers: dict[str, Callable[..., Source]] = {"binance": binance.spot, "binance-usdm": binance.usdm}
    if kind not in makers:
        raise UnknownName("source", name, [*makers, *config.sources])
    options = {"base_url": base_url or section.base_url, "weight": section.weight, "concurrency": section.concurrency}
    return makers[kind](**{k: v for k, v in options.items() if v is not None})


def patience(config: Config, name: str) -> Patience:
    """How long to go on with a source, as configured."""
    from gapless.engine.fetch import Patience  # and aiohttp with it

    section = config.sources.get(name, SourceSection())
    return Patience(
        attempts=section.attempts,
        timeout=parse_duration(section.timeout) / SECOND,
        longest_pause=parse_duration(section.patience) / SECOND,
    )
