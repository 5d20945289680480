"""Which calendar and which source a venue has: built in, unless the configuration says otherwise."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gapless.app.vendors import Habits, Vendor, plugged, plugged_for, plugged_names
from gapless.calendars import MarketCalendar, Override, calendar, venue_calendar
from gapless.config import CalendarSection, Config, SourceSection
from gapless.errors import ConfigError, UnknownName, UsageError
from gapless.protocols import Archive, LiveSource, Source
from gapless.sources import binance, binance_archive, binance_live, bitfinex, ccxt_any, polygon, yahoo
from gapless.sources.secret import Secret
from gapless.spans import DAY, SECOND, Timeframe, parse_duration

if TYPE_CHECKING:
    from gapless.engine.fetch import Patience


VENDORS = {
    "binance": Vendor("BINANCE", binance.spot, live=binance_live.spot_live, archive=binance_archive.spot),
    "bitfinex": Vendor("BITFINEX", bitfinex.bitfinex),
    "binance-usdm": Vendor(
        "BINANCEUSDM", binance.usdm, live=binance_live.usdm_live, beside="/fapi", archive=binance_archive.usdm
    ),
    **{
        "polygon" if venue == "XNAS" else f"polygon-{venue.lower()}": Vendor(
            venue, partial(polygon.polygon, venue=venue)
        )
        for venue in polygon.VENUES
    },
    **{
        "yahoo" if venue == "XNAS" else f"yahoo-{venue.lower()}": Vendor(venue, partial(yahoo.yahoo, venue=venue))
        for venue in yahoo.VENUES
    },
}
CCXT = "ccxt-"  # before ccxt's name of an exchange: a source


BUCKET = "/data.binance.vision"  # where the archive is on an address that serves both
SETTLE = 5 * SECOND  # where no source says how long it takes
ARCHIVE = "-archive"  # after the name of a source: the files of its archive alone


def dense(config: Config, venue: str) -> bool:
    """Does any of the venue's sources send a bar for silent times too?"""
    return any(vendor_of(config, name).habits.dense for name in source_names(config, venue))


def settle(config: Config, venue: str, timeframe: Timeframe) -> int:
    """How long after its close a bar of the venue counts as missing, µs: as soon as any of its sources may have it."""
    names = source_names(config, venue)
    return min((_settled(config, name, timeframe) for name in names), default=SETTLE)


def _settled(config: Config, name: str, timeframe: Timeframe) -> int:
    told, habits = config.sources.get(name, SourceSection()).settle, vendor_of(config, name).habits
    later = 0 if told is None else parse_duration(told) - habits.settle
    return later + (habits.day_settle if timeframe.micros >= DAY else habits.settle)


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
    """The source a venue is fetched from, before any other."""
    names = source_names(config, venue)
    if not names:
        raise UsageError(
            f"gapless knows no source for venue {venue}.",
            hint=f"give --source, or set source under [venues.{venue}] in gapless.toml; files: gapless import",
        )
    return names[0]


def source_names(config: Config, venue: str) -> tuple[str, ...]:
    """The sources of a venue, the most trusted first; none for a venue that only files speak of."""
    section = config.venues.get(venue)
    if section and (section.source or section.sources):
        return (section.source,) if section.source else section.sources
    built_in = [name for name, v in VENDORS.items() if v.venue == venue]
    return tuple(built_in or plugged_for(venue))[:1]


def source(config: Config, name: str, *, base_url: str | None = None) -> Source:
    """The source called ``name``, as configured; ``base_url`` overrides the configured address."""
    section, vendor = config.sources.get(name, SourceSection()), vendor_of(config, name)
    options = {
        "base_url": base_url or section.base_url, "weight": section.weight, "concurrency": section.concurrency,
        "key": section.key.get_secret_value() if section.key else None, "adjusted": section.adjusted,
        "browser": section.browser,
    }  # fmt: skip
    made = vendor.made(name, {k: v for k, v in options.items() if v is not None}, options)
    try:
        made.name = name  # two addresses of one kind are two sources, in the ledger and in every row
    except AttributeError as error:
        raise UsageError(f"source {name} cannot be given its name: {error}.", hint="a source is not frozen") from None
    if section.settle is not None:
        made.settle = parse_duration(section.settle)
    return made


def check_key(made: Source) -> None:
    """Raise ConfigError for a source that needs a key and has none."""
    key = getattr(made, "key", None)
    if isinstance(key, Secret):
        try:
            key.reveal()
        except ConfigError as error:
            raise ConfigError(f"{made.name}: {error.message}", hint=error.hint) from None


def vendor_of(config: Config, name: str) -> Vendor:
    """Who the source called ``name`` is; UnknownName for one that nobody brings."""
    kind = config.sources.get(name, SourceSection()).kind or name
    vendor = VENDORS.get(kind) or _of_ccxt(kind, config) or plugged(kind)
    if vendor is None:
        raise UnknownName("source", kind, [*VENDORS, *plugged_names()])
    return vendor


def _of_ccxt(kind: str, config: Config) -> Vendor | None:
    """``ccxt-kraken``: that exchange, as the venue that names it as its source, else as KRAKEN."""
    exchange = kind.removeprefix(CCXT)
    if exchange == kind:
        return None
    named = (v for v, section in config.venues.items() if kind in (section.source, *section.sources))
    venue = next(named, exchange.upper())
    habits = Habits(dense=False, settle=ccxt_any.SETTLE, day_settle=ccxt_any.SETTLE)  # to make one, ccxt is needed
    return Vendor(venue, partial(ccxt_any.ccxt, exchange=exchange, venue=venue), told=habits)


def archive(config: Config, made: Source) -> Archive | None:
    """The archive beside a source, as configured; None for one that has none. A source elsewhere has its own there."""
    section = config.sources.get(made.name, SourceSection())
    vendor = VENDORS.get(section.kind or made.name)
    if vendor is None or vendor.archive is None or section.archive == "none":
        return None
    elsewhere = None if made.base_url == vendor.make().base_url else f"{made.base_url.rstrip('/')}{BUCKET}"
    address = section.archive or elsewhere
    beside = vendor.archive(address, bucket=f"{address.rstrip('/')}/") if address else vendor.archive()
    beside.name = made.name + ARCHIVE
    return beside


def live_source(config: Config, name: str, *, base_url: str | None = None) -> LiveSource | None:
    """The websocket of the source called ``name``; None for one that is polled. ``base_url`` is its REST's override."""
    section = config.sources.get(name, SourceSection())
    vendor = VENDORS.get(section.kind or name)
    if vendor is None or vendor.live is None:
        return None
    if section.ws_url is not None and base_url is None:
        return vendor.live(section.ws_url)
    both = base_url or section.base_url  # a simulated venue, or a proxy
    return vendor.live("ws" + both.rstrip("/").removeprefix("http") + vendor.beside) if both else vendor.live()


def patience(config: Config, name: str) -> Patience:
    """How long to go on with a source, as configured."""
    from gapless.engine.fetch import Patience  # and aiohttp with it

    section = config.sources.get(name, SourceSection())
    return Patience(
        attempts=section.attempts,
        timeout=parse_duration(section.timeout) / SECOND,
        longest_pause=parse_duration(section.patience) / SECOND,
    )
