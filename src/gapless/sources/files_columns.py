"""Which column means what, and what a file's name says. Vocabulary as data; nothing is guessed from values here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gapless.bars import EXTRAS, PRICES, VALUES
from gapless.errors import InputError, UnknownName, UsageError
from gapless.spans import Timeframe

# For each column of the bar schema the names vendors give it, best first, compared without case and punctuation.
NAMES: dict[str, tuple[str, ...]] = {
    "ts": (
        "opentime", "opentimestamp", "klineopentime", "windowstart", "timeperiodstart", "candlebegintime", "startts",
        "barstart", "starttime", "starttimestamp", "timestamp", "ts", "unix", "unixtime", "unixtimestamp", "epoch",
        "timestampms", "datetime", "dateutc", "timeutc", "localtime", "gmttime", "date", "time", "t", "start", "begin",
        "bartime", "tradedate", "day", "index", "indexlevel0", "unnamed0", "column1",
    ),
    "open": ("open", "o", "openprice", "priceopen", "pxopen", "first"),
    "high": ("high", "h", "highprice", "pricehigh", "pxhigh", "max"),
    "low": ("low", "l", "lowprice", "pricelow", "pxlow", "min"),
    "close": ("close", "c", "closeprice", "priceclose", "pxclose", "closelast", "last"),
    "volume": (
        "volume", "vol", "v", "basevolume", "volumebase", "baseassetvolume", "volumetraded", "tradedvolume",
        "totalvolume", "sharevolume", "tickvol", "tickvolume",
    ),
    "quote_volume": (
        "quotevolume", "quoteav", "quoteassetvolume", "quotevol", "volumequote", "quoteassetvol", "turnover",
        "amount", "q",
    ),
    "trades": (
        "trades", "count", "n", "numberoftrades", "numtrades", "tradecount", "tradescount", "transactions", "ntrades",
        "notrades",
    ),
    "taker_buy_volume": (
        "takerbuyvolume", "tbbaseav", "takerbuybaseassetvolume", "takerbuybasevolume", "takerbuybase",
        "takerbuybaseav", "takerbasevolume", "takerbuyvol", "takerbuybasevol",
    ),
    "open_interest": ("openinterest", "oi", "sumopeninterest", "openint"),
    "funding_rate": ("fundingrate", "lastfundingrate"),
    "instrument": (
        "instrument", "symbol", "ticker", "pair", "sym", "instid", "instrumentid", "productid", "symbolid",
        "tic", "tsymbol", "name",
    ),
}  # fmt: skip
CLOSE_TIMES = ("closetime", "endtime", "closetimestamp", "windowend", "timeperiodend", "barend", "end")
ALIASES = {"symbol": "instrument", "time": "ts", "timestamp": "ts"}

# Binance's monthly and daily archives came without a header until 2025.
KLINE_ARCHIVE = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count", "taker_buy_volume",
    "taker_buy_quote_volume", "ignore",
)  # fmt: skip
PLAIN = ("time", "open", "high", "low", "close", "volume")


def key(name: str) -> str:
    """A column name without case, numbering and punctuation.

    >>> key("1. open"), key("<CLOSE>"), key("Quote asset volume")
    ('open', 'close', 'quoteassetvolume')
    """
    return re.sub(r"[^a-z0-9]", "", re.sub(r"^\s*\d+\.\s*", "", name).lower())


def map_columns(names: Sequence[str], given: Mapping[str, str] | None, where: str) -> dict[str, str]:
    """Bar schema → file column, for a table with columns ``names``; ``given`` wins.

    Raises InputError when there is no time, a price or the volume is missing, or a name stands for two columns.
    """
    found = _given(names, given or {}, where)
    for role in NAMES:
        if role not in found and (name := _pick(role, names, set(found.values()), where)) is not None:
            found[role] = name
    _require(found, names, where)
    return found


def close_time_only(column: str) -> bool:
    """Does the name say that it holds the end of the bar?"""
    return key(column) in CLOSE_TIMES


def _given(names: Sequence[str], given: Mapping[str, str], where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for role, column in given.items():
        target = ALIASES.get(role, role)
        if target not in NAMES:
            raise UnknownName("column of the bar schema", role, ("ts", "instrument", *VALUES, *EXTRAS))
        if column not in names:
            unknown = UnknownName("column", column, names)
            raise InputError(f"{where}: {unknown.message}", hint=unknown.hint)
        found[target] = column
    return found


def _pick(role: str, names: Sequence[str], taken: set[str], where: str) -> str | None:
    """The best free column for ``role``, or None."""
    free = [name for name in names if name not in taken]
    wanted = NAMES[role] + (CLOSE_TIMES if role == "ts" else ())
    for name in wanted:
        same = [column for column in free if key(column) == name]
        if len(same) > 1:  # websocket records have t and T: the lower-case one is the bar's own
            same = [column for column in same if column == column.lower()]
            if len(same) != 1:
                raise InputError(
                    f"{where}: several columns are called {name}.", hint=f"say which: --columns {role}=COLUMN"
                )
        if same:
            return same[0]
    return None


def _require(found: Mapping[str, str], names: Sequence[str], where: str) -> None:
    missing = [role for role in ("ts", *VALUES) if role not in found]
    if not missing:
        return
    words = {"ts": "a time"} | {name: name for name in (*PRICES, "volume")}
    raise InputError(
        f"{where}: no column for {', '.join(words[role] for role in missing)}; the columns are: {', '.join(names)}.",
        hint="map them: --columns " + ",".join(f"{role}=COLUMN" for role in missing),
    )


# ---------------------------------------------------------------- file names

_LENGTHS = {"s": "s", "m": "m", "min": "m", "minute": "m", "h": "h", "H": "h", "hour": "h", "d": "d", "D": "d",
            "day": "d", "w": "w", "W": "w", "week": "w", "mo": "mo", "M": "mo", "month": "mo"}  # fmt: skip
_TIMEFRAME = (
    r"(?:1s|[135]m|1[05]m|[34][05]m|(?:[123468]|12)[hH]|[13][dD]|1[wW]|1mo|1M"
    r"|\d{1,2}min(?:ute)?|1hour|1day|1week|1month)"
)
_SYMBOL = r"(?=[^-_]*[A-Z])[A-Z0-9^][A-Z0-9.^=]*(?:-[A-Z]+)?"
_DATED = r"(?:-\d{4}(?:-?\d{2}){0,2})?"
_ARCHIVE = re.compile(rf"(?P<symbol>{_SYMBOL}(?:_\d{{6}})?)-{_TIMEFRAME}{_DATED}")
_FREQTRADE = re.compile(
    rf"(?P<base>[A-Z0-9]+)_(?P<quote>[A-Z][A-Z0-9]*)(?:_[A-Z0-9]+)?-{_TIMEFRAME}(?:-(?P<kind>\w+))?"
)
_MARKET = re.compile(rf"(?:spot|um|cm|perp|swap|futures?|linear|inverse)_(?P<symbol>{_SYMBOL})_{_TIMEFRAME}(?:[_-].*)?")
_VENUED = re.compile(rf"(?P<venue>[A-Z]+)_(?P<symbol>{_SYMBOL})_{_TIMEFRAME}(?:[_-].*)?")
_PLAIN = re.compile(rf"(?P<symbol>{_SYMBOL})[_. ]{_TIMEFRAME}(?:[_-]\d.*)?")
_BARE = re.compile(rf"(?P<symbol>{_SYMBOL})(?:[-_]\d{{4}}(?:-?\d{{2}}){{0,2}})?")
_NO_SYMBOLS = {"BARS", "CANDLES", "DATA", "EXPORT", "KLINES", "OHLC", "OHLCV", "PRICES", "TEST"}


@dataclass(frozen=True)
class Named:
    """What a file name says."""

    symbol: str | None = None
    note: str = ""


def symbol_in(stem: str, venue: str) -> Named:
    """The symbol that a file name without its endings states, by the patterns of known archives.

    >>> [symbol_in(s, "BINANCE").symbol for s in ("ADABTC-1m-2021-11-27", "BTC_USDT-5m", "spot_BTCUSDT_1m_x", "AAPL")]
    ['ADABTC', 'BTCUSDT', 'BTCUSDT', 'AAPL']
    >>> symbol_in("prices", "XNAS").symbol is None
    True
    """
    if found := _FREQTRADE.fullmatch(stem):
        pair = found["base"] + found["quote"]
        if found["kind"] not in (None, "spot", "futures"):
            return Named()
        return Named(pair, f"symbol {pair} from the file name (pair {found['base']}_{found['quote']})")
    for pattern in (_ARCHIVE, _MARKET, _PLAIN, _BARE):
        if found := pattern.fullmatch(stem):
            symbol = found["symbol"]
            return Named() if symbol in _NO_SYMBOLS else Named(symbol, f"symbol {symbol} from the file name")
    if (found := _VENUED.fullmatch(stem)) and found["venue"] == venue:
        return Named(found["symbol"], f"symbol {found['symbol']} from the file name")
    return Named()


def timeframes_in(stem: str) -> list[str]:
    """The timeframes a file name states, in gapless's words.

    >>> timeframes_in("us_15min_2019"), timeframes_in("BTC_USDT_USDT-1h-futures"), timeframes_in("AAPL")
    (['15m'], ['1h'], [])
    """
    tokens = [token for token in re.split(r"[-_. ]", stem) if re.fullmatch(_TIMEFRAME, token)]
    return [re.sub(r"[A-Za-z]+", lambda unit: _LENGTHS[unit[0]], token) for token in tokens]


def check_timeframe(stem: str, timeframe: Timeframe, where: str) -> None:
    """Raise UsageError when the file name states a timeframe, and not this one."""
    said = timeframes_in(stem)
    if not said or timeframe.name in said:
        return
    known = said[0] in Timeframe.ALL
    raise UsageError(
        f"{where}: the file name says {said[0]}, but the timeframe given is {timeframe}.",
        hint=f"give --timeframe {said[0]}, or rename the file if its name misleads"
        if known
        else f"gapless keeps {', '.join(Timeframe.ALL)}; rename the file if its name misleads",
    )
