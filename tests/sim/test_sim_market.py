"""The made market: the same bits in any order, sane statistics, interruptions where it says."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.bars import check_bars
from gapless.errors import UnknownName, UsageError
from gapless.sim import Market
from gapless.spans import DAY, HOUR, MINUTE, Span, SpanSet, Timeframe, parse_time

START, END = "2024-01-01", "2024-07-01"
MARKET = Market(7, 12, START, END)
FEBRUARY = Span.parse("2024-02-01", "2024-03-01")
FAR = parse_time("2040-01-01")


def digest(frame: pl.DataFrame) -> str:
    values = [frame[name].to_physical().to_numpy().tobytes() for name in frame.columns if name != "instrument"]
    return hashlib.sha256(b"".join(values)).hexdigest()


def log_returns(frame: pl.DataFrame) -> np.ndarray:
    return np.diff(np.log(frame["close"].to_numpy()))


def test_a_span_is_the_same_whatever_was_asked_before() -> None:
    """Asking later days first, other symbols first, or through a tiny cache changes no bit."""
    span = Span.parse("2024-02-03T05:07", "2024-02-06T01:00")
    first = digest(MARKET.truth("ETHUSDT", "1m", span))
    other = Market(7, 12, START, END, cached_days=1)
    for name, day in (("BTCUSDT", 80), ("ETHUSDT", 120), ("ETHUSDT", 34)):
        other.truth(name, "1h", Span(other.span.start + day * DAY, other.span.start + (day + 2) * DAY))
    assert digest(other.truth("ETHUSDT", "1m", span)) == first
    parts = [MARKET.truth("ETHUSDT", "1m", Span(span.start + i * HOUR, span.start + (i + 1) * HOUR)) for i in range(67)]
    assert digest(pl.concat(parts)) == digest(MARKET.truth("ETHUSDT", "1m", Span(span.start, span.start + 67 * HOUR)))


def test_bars_do_not_depend_on_the_company_or_the_bounds() -> None:
    """A symbol's bars follow from (seed, symbol, day): not from which others trade, nor from start and end."""
    span = Span.parse("2024-02-03", "2024-02-05")
    alone = Market(7, ("SOLUSDT",), "2023-06-01", "2025-01-01")
    assert digest(alone.truth("SOLUSDT", "1m", span)) == digest(MARKET.truth("SOLUSDT", "1m", span))


def test_another_process_makes_the_same_market() -> None:
    """No hash seed, no global state: a fresh interpreter gives the same bits."""
    program = (
        "import hashlib; from gapless.sim import Market; from gapless.spans import Span\n"
        f"f = Market(7, 12, '{START}', '{END}').truth('XRPUSDT', '5m', Span.parse('2024-02-01', '2024-02-08'))\n"
        "d = b''.join(f[n].to_physical().to_numpy().tobytes() for n in f.columns if n != 'instrument')\n"
        "print(hashlib.sha256(d).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    week = Span.parse("2024-02-01", "2024-02-08")
    assert done.stdout.strip() == digest(MARKET.truth("XRPUSDT", "5m", week))


def test_seeds_and_venues_differ() -> None:
    """Another seed is another market; the other venue's bars differ but stay near in price."""
    span = Span.parse("2024-02-03", "2024-02-04")
    spot = MARKET.truth("BTCUSDT", "1m", span)
    assert digest(Market(8, 12, START, END).truth("BTCUSDT", "1m", span)) != digest(spot)
    perp = Market(7, 12, START, END, venue="BINANCEUSDM").truth("BTCUSDT", "1m", span)
    assert digest(perp) != digest(spot)
    assert float((perp["close"] / spot["close"] - 1).abs().max()) < 0.1  # type: ignore[arg-type]
    assert perp["instrument"][0] == "BINANCEUSDM:BTCUSDT"


@pytest.mark.parametrize("name", MARKET.symbols)
def test_every_bar_is_a_valid_bar(name: str) -> None:
    """Six months of every symbol pass the check of stored rows at 1h, and a month at 1m, without one exception."""
    for timeframe, span in (("1m", FEBRUARY), ("1h", MARKET.span), ("1w", MARKET.span)):
        frame = MARKET.truth(name, timeframe, span)
        checked = check_bars(frame, Timeframe.parse(timeframe), now=FAR)
        assert checked.quarantined.is_empty()
        assert checked.duplicates == 0
        assert checked.clean.equals(frame)


def test_values_are_whole_ticks_and_steps() -> None:
    """The decimal text of a price or volume, with the symbol's decimals, reads back as the same float64."""
    frame = MARKET.truth("ALGOUSDT", "1m", FEBRUARY)
    scale = MARKET.scale("ALGOUSDT")
    for column, decimals in (("open", scale.price), ("high", scale.price), ("volume", scale.volume)):
        assert all(float(f"{value:.{decimals}f}") == value for value in frame[column])


def test_extras_agree_with_the_bar() -> None:
    """Turnover lies between volume × low and volume × high; takers bought at most all; trades mean volume."""
    frame = MARKET.truth("BNBUSDT", "1m", FEBRUARY)
    slack = 1.0
    inside = frame.filter(
        pl.col("quote_volume").is_between(
            pl.col("volume") * pl.col("low") - slack, pl.col("volume") * pl.col("high") + slack
        )
    )
    assert inside.height == frame.height
    assert frame.filter(pl.col("taker_buy_volume") > pl.col("volume")).is_empty()
    assert frame.filter((pl.col("trades") > 0) != (pl.col("volume") > 0)).is_empty()


def test_returns_are_correlated_fat_tailed_and_clustered() -> None:
    """What makes markets hard: a common factor, kurtosis above the normal's 3, volatility and volume that persist."""
    names = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDT")
    frames = [MARKET.truth(name, "1m", FEBRUARY) for name in names]
    common = frames[0].select("ts")
    for frame in frames[1:]:
        common = common.join(frame.select("ts"), on="ts")
    returns = [log_returns(frame.join(common, on="ts").sort("ts")) for frame in frames]
    pairs = np.corrcoef(returns)[np.triu_indices(4, 1)]
    assert ((pairs > 0.15) & (pairs < 0.9)).all()
    for frame, r in zip(frames, returns, strict=True):
        assert ((r - r.mean()) ** 4).mean() / r.var() ** 2 > 5
        size, volume = np.abs(r), np.log(frame["volume"].to_numpy() + 1)
        assert np.corrcoef(size[:-10], size[10:])[0, 1] > 0.05
        assert np.corrcoef(volume[:-10], volume[10:])[0, 1] > 0.3
        assert abs(np.corrcoef(r[:-1], r[1:])[0, 1]) < 0.05


def test_volume_follows_the_hour() -> None:
    """Full hours are busier than the minutes beside them."""
    frame = MARKET.truth("BTCUSDT", "1m", FEBRUARY).with_columns(pl.col("ts").dt.minute().alias("minute"))
    mean = dict(frame.group_by("minute").agg(pl.col("volume").median()).iter_rows())
    assert mean[0] > 1.2 * max(mean[7], mean[52])


def test_daily_moves_look_like_a_coin() -> None:
    """Daily volatility lies between 1 % and 8 %, and prices stay within a factor of ten of their level."""
    years = Market(7, 4, "2020-01-01", "2024-01-01")
    for name in years.symbols[:2]:
        closes = years.truth(name, "1d", Span.parse("2021-01-01", "2021-07-01"))["close"].to_numpy()
        assert 0.01 < np.diff(np.log(closes)).std() < 0.08
        assert closes.max() / closes.min() < 10


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(MARKET.symbols),
    timeframe=st.sampled_from(["5m", "15m", "30m", "1h", "4h", "1d", "1w"]),
    day=st.integers(0, 181),
)
def test_a_higher_timeframe_is_the_fold_of_its_minutes(name: str, timeframe: str, day: int) -> None:
    """First open, highest high, lowest low, last close, sums, over the minutes that exist."""
    size = Timeframe.parse(timeframe)
    start = size.floor(MARKET.span.start + day * DAY)
    span = Span(start, start + max(size.micros, DAY))
    minutes = MARKET.truth(name, "1m", span)
    opens = (pl.col("ts").to_physical() - size.offset) // size.micros * size.micros + size.offset
    folded = (
        minutes.group_by(opens.alias("at"))
        .agg(
            pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last(),
            pl.col("volume", "quote_volume", "trades", "taker_buy_volume").sum(),
        )
        .sort("at")
    )  # fmt: skip
    bars = MARKET.truth(name, timeframe, span)
    assert bars["ts"].to_physical().to_list() == folded["at"].to_list()
    for column in ("open", "high", "low", "close", "trades"):
        assert bars[column].to_list() == folded[column].to_list()
    for column in ("volume", "quote_volume", "taker_buy_volume"):
        assert np.allclose(bars[column], folded[column], rtol=1e-12, atol=0)


def test_listings_begin_and_end_inside_the_span() -> None:
    """From four symbols on some are listed late and some delisted; their first and last bars say when."""
    late = [x for x in MARKET.listings() if x.listed_at != MARKET.span.start]
    gone = [x for x in MARKET.listings() if x.delisted_at != MARKET.span.end]
    assert late
    assert gone
    for listing in (late[0], gone[0]):
        bars = MARKET.truth(listing.instrument, "1m", MARKET.span)["ts"].to_physical()
        assert bars[0] == MARKET.listed_at(listing.instrument)
        assert bars[-1] == (listing.delisted_at or 0) - MINUTE


def test_an_outage_silences_everybody_and_a_halt_one() -> None:
    """No bar opens inside an outage; inside a halt only that symbol has none; all others are complete."""
    outage, halt = (
        Span.parse("2024-02-10T23:30", "2024-02-11T01:10"),
        Span.parse("2024-02-12T10:00", "2024-02-12T10:20"),
    )
    market = Market(
        7, 3, START, END, outages=SpanSet.of(outage), halts={"ETHUSDT": SpanSet.of(halt)}, listed_late=0, delisted=0
    )
    span = Span.parse("2024-02-10", "2024-02-13")
    for name in market.symbols:
        bars = market.truth(name, "1m", span)
        seen = SpanSet.from_bars(bars["ts"].to_physical().to_numpy(), Timeframe.parse("1m"))
        missing = seen.complement(span)
        assert missing == (SpanSet.of(outage, halt) if name == "ETHUSDT" else SpanSet.of(outage))
    hours = market.truth("BTCUSDT", "1h", Span(outage.start, outage.end))["ts"].to_physical().to_list()
    assert hours == [parse_time("2024-02-11T01:00")]


def test_random_outages_are_where_it_says() -> None:
    """Every minute of the listed span that has no bar is an outage or a halt, and the reverse."""
    market = Market(3, 2, START, END, outages_per_month=1.0, halts_per_month=1.0)
    assert len(market.outages) >= 5
    for name in market.symbols:
        bars = market.truth(name, "1m", market.span)["ts"].to_physical().to_numpy()
        missing = SpanSet.from_bars(bars, Timeframe.parse("1m")).complement(market.span)
        assert missing == market.outages | market.halts(name)


def test_a_silent_minute_is_flat_or_absent() -> None:
    """Thin symbols have minutes without a trade: flat at the last close with volume 0, or omitted on demand."""
    span = Span.parse("2024-02-03", "2024-02-05")
    flat = MARKET.truth("ALGOUSDT", "1m", span)
    silent = flat.with_columns(pl.col("close").shift(1).alias("before")).filter(pl.col("volume") == 0)
    assert silent.height > 20
    assert (
        silent.filter(
            (pl.col("open") == pl.col("before"))
            & (pl.col("high") == pl.col("low"))
            & (pl.col("close") == pl.col("before"))
        ).height
        == silent.height
    )
    assert set(silent["trades"]) == {0.0}
    omitted = Market(7, 12, START, END, silence="omit").truth("ALGOUSDT", "1m", span)
    assert omitted.equals(flat.filter(pl.col("volume") > 0))


def test_wrong_options_are_errors() -> None:
    """Nothing is silently ignored or guessed."""
    with pytest.raises(UnknownName, match="did you mean 'flat'"):
        Market(silence="flt")
    with pytest.raises(UnknownName, match="BTCUSDT"):
        MARKET.truth("BTCUSD", "1m", FEBRUARY)
    for bad in ({"symbols": ()}, {"symbols": ("a b",)}, {"symbols": ("A", "A")}, {"start": "1999-01-01"}):
        with pytest.raises(UsageError):
            Market(**bad)  # type: ignore[arg-type]


def test_an_empty_span_has_the_schema() -> None:
    """Before the listing there are no rows, with the columns and types of bars."""
    frame = MARKET.truth("BTCUSDT", "1m", Span.parse("2019-01-01", "2019-01-02"))
    assert frame.height == 0
    assert frame.schema == MARKET.truth("BTCUSDT", "1m", Span.parse("2024-02-01", "2024-02-02")).schema


@pytest.mark.parametrize(
    ("venue", "symbol", "at", "bar"),
    [
        (
            "BINANCE",
            "BTCUSDT",
            "2024-06-03T12:34",
            (30640.79, 30647.52, 30632.06, 30632.21, 13.56318, 415550.6755, 813),
        ),
        ("BINANCEUSDM", "ETHUSDT", "2021-02-28", (861.29, 861.31, 860.41, 860.69, 2190.2097, 1885606.286, 858)),
    ],
)
def test_the_market_does_not_change_between_releases(venue: str, symbol: str, at: str, bar: tuple[float, ...]) -> None:
    """Seed 7 has always had these bars: a change here changes every number anybody measured on it."""
    start = parse_time(at)
    row = Market(7, 2, venue=venue).truth(symbol, "1m", Span(start, start + MINUTE)).row(0)
    assert row[2:9] == bar


def test_listings_do_not_follow_the_clock() -> None:
    """An open-ended market lists late symbols within four months of its start, always at the same hour."""
    market = Market(7, 20, "2025-01-01")
    late = [x for x in market.listings() if x.listed_at != market.span.start]
    assert late
    assert all((x.listed_at or 0) < market.span.start + 120 * DAY for x in late)
    assert all((x.listed_at or 0) % HOUR == 0 for x in late)
    assert [x.delisted_at for x in market.listings() if x.instrument.symbol in market.symbols[:2]] == [None, None]


def test_memory_is_bounded_by_the_caches() -> None:
    """However long a walk, a market keeps no more days than it was told to."""
    market = Market(7, 1, "2022-01-01", "2023-01-01", cached_days=8)
    market.truth("BTCUSDT", "1d", market.span)
    market.truth("BTCUSDT", "5m", Span(market.span.start, market.span.start + 30 * DAY))
    assert market._day.cache_info().currsize <= 8
    assert market._folded.cache_info().currsize <= 16
    assert market._hours.cache_info().currsize <= 256 < 365
