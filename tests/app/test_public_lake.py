"""The public lake: what people hand in, and what they must get back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import gapless as gl
from gapless.app import importing, planning
from gapless.app.lake import Lake
from gapless.app.runs import running
from gapless.bars import TS
from gapless.config import Config
from gapless.engine import views
from gapless.errors import InputError, UnknownName, UsageError
from gapless.protocols import Answer
from gapless.series import Series
from gapless.sources.files import ReadOptions
from gapless.spans import DAY, HOUR, MINUTE, Span, Timeframe, parse_time
from gapless.stores.lake import Lake as Store

BTC = "BINANCE:BTCUSDT"
T0 = parse_time("2025-05-01")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return gl.open(tmp_path / "lake")


def frame(start: int | str = T0, count: int = 4, size: int = MINUTE, **columns: Any) -> pl.DataFrame:
    """Flat bars, without an instrument."""
    ts = pl.Series("ts", [parse_time(start) + k * size for k in range(count)], pl.Int64)
    values = {"open": 2.0, "high": 3.0, "low": 1.0, "close": 2.0, "volume": 5.0} | columns
    return pl.DataFrame(ts.cast(TS)).with_columns(pl.lit(v).alias(n) for n, v in values.items())


# ---------------------------------------------------------------- writing


def test_polars_pandas_and_arrow_say_the_same(lake: Lake) -> None:
    """Each form is stored once and then unchanged, whatever its time zone and wherever its times stand."""
    bars = frame()
    assert lake.write(BTC, "1m", bars).total.written == 4
    table = bars.to_pandas()
    elsewhere = table.assign(ts=table["ts"].dt.tz_convert("America/New_York"))
    forms = [bars.lazy(), table, table.set_index("ts"), elsewhere, bars.to_arrow(), pa.table(bars.to_arrow())]
    forms += [bars.with_columns(pl.col("ts").cast(pl.Datetime("ms", "UTC"))), bars.select(reversed(bars.columns))]
    for form in forms:
        assert lake.write(BTC, "1m", form).total.unchanged == 4


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (frame().with_columns(pl.col("ts").dt.replace_time_zone(None)), "no time zone"),
        (frame().drop("close"), "column close is missing"),
        (frame().with_columns(close=pl.lit("dear")), "cannot be read as numbers"),
        (frame().with_columns(pl.col("ts").to_physical()), "ts"),
        (frame().to_pandas().assign(ts=1), "ts"),
    ],
)
def test_a_table_that_is_not_bars_says_why_and_keeps_nothing(lake: Lake, bad: Any, match: str) -> None:
    """The message names the column; nothing is stored."""
    with pytest.raises(InputError, match=match):
        lake.write(BTC, "1m", bad)
    assert lake.bars(None, "1m").height == 0


def test_rows_of_another_instrument_are_not_relabelled(lake: Lake) -> None:
    """A table that names its instruments must mean the one it is written as."""
    both = pl.concat([frame().with_columns(instrument=pl.lit(n)) for n in (BTC, "BINANCE:ETHUSDT")])
    with pytest.raises(UsageError, match="ETHUSDT"):
        lake.write(BTC, "1m", both)
    assert lake.bars(None, "1m").height == 0
    assert lake.write(BTC, "1m", lake.bars(None, "1m")).total.read == 0
    lake.write(BTC, "1m", frame())
    assert lake.write(BTC, "1m", lake.bars(BTC, "1m")).total.unchanged == 4


def test_what_is_no_table_is_refused(lake: Lake) -> None:
    """A list or a path is told what to give instead."""
    with pytest.raises(UsageError, match="not a table of bars"):
        lake.write(BTC, "1m", [1, 2, 3])


# ---------------------------------------------------------------- reading


def test_an_unknown_fill_is_an_error(lake: Lake) -> None:
    """An option that does nothing, or something else than it says, is an error."""
    lake.write(BTC, "1m", frame())
    with pytest.raises(UnknownName, match="flat"):
        lake.bars(BTC, "1m", fill="flatt")  # type: ignore[arg-type]


def test_bars_before_1970_are_bars(lake: Lake) -> None:
    """An open start is open: neither bars nor features of the sixties are lost."""
    old = frame("1962-01-02", 40, DAY)
    lake.write("XNYS:IBM", "1d", old)
    assert lake.bars("XNYS:IBM", "1d", end="1975-01-01").height == 40
    features = {"mean": "sma(close, 3)", "slow": "ema(close, 3)"}
    assert lake.features("XNYS:IBM", "1d", features, end="1975-01-01").height == 40
    assert lake.gaps("XNYS:IBM", "1d", end="1962-02-01").filter(pl.col("class") == "before_listing").height <= 1


def test_empty_questions_have_empty_answers(lake: Lake) -> None:
    """No instruments, no bars, an empty span: frames without rows, of the usual columns."""
    lake.write(BTC, "1m", frame())
    for found in (
        lake.bars([], "1m"),
        lake.bars("BINANCE:NOSUCH", "1m"),
        lake.bars(BTC, "1m", start=T0, end=T0),
        lake.bars(BTC, "5m"),
        lake.bars("BINANCE:NOSUCH", "1m", fill="flat").drop("filled"),
    ):
        assert (found.height, found.columns[:3]) == (0, ["instrument", "ts", "open"])
    for found in (
        lake.features([], "1m", {"a": "close * 2"}),
        lake.features("BINANCE:NOSUCH", "1m", {"a": "close * 2"}),
        lake.features("BINANCE:NOSUCH", "1m", {"a": "close * 2"}, start=T0),
        lake.features(BTC, "1m", {"a": "ema(close, 3)"}, start=T0, end=T0),
        lake.features(BTC, "1m", {"a": "close * 2"}, start=T0 + DAY),
    ):
        assert (found.height, found.columns) == (0, ["instrument", "ts", "available_at", "a"])
    assert lake.gaps().height == 0
    with pytest.raises(UsageError, match="before the start"):
        lake.bars(BTC, "1m", start=T0, end=T0 - 1)


def test_flat_fills_what_is_expected_and_marks_it(lake: Lake) -> None:
    """Missing minutes carry the last close with volume 0, stored ones stay as they are, each instrument by itself."""
    lake.write(BTC, "1m", frame(count=2).vstack(frame(T0 + 5 * MINUTE, 1)))
    lake.write("BINANCE:ETHUSDT", "1m", frame(T0 + MINUTE, 1, trades=4.0))
    found = lake.bars(None, "1m", fill="flat", provenance=True)
    assert found["filled"].to_list() == [False, False, True, True, True, False, False]
    assert found.filter("filled").select("open", "high", "low", "close", "volume").unique().rows() == [
        (2.0,) * 4 + (0.0,)
    ]
    assert found.filter("filled")["source"].null_count() == 3
    assert lake.bars(None, "1m").height == 4


def test_extended_hours_are_marked_and_never_filled(lake: Lake) -> None:
    """A bar before the open is extended; a fill adds regular minutes only."""
    early, first = parse_time("2015-12-24T14:00"), parse_time("2015-12-24T14:30")
    lake.write("XNAS:GOOG", "1m", frame(early, 1).vstack(frame(first, 1)).vstack(frame(first + 3 * MINUTE, 1)))
    marked = lake.mark_sessions(lake.bars("XNAS:GOOG", "1m", fill="flat"), "1m")
    assert marked["session"].to_list() == ["extended", *["regular"] * 4]
    assert marked["filled"].to_list() == [False, False, True, True, False]
    assert lake.mark_sessions(lake.bars("XNAS:NOSUCH", "1m"), "1m").height == 0


# ---------------------------------------------------------------- importing


def csv(path: Path, rows: list[tuple[object, ...]]) -> Path:
    path.write_text("ts,open,high,low,close,volume\n" + "".join(",".join(map(str, r)) + "\n" for r in rows))
    return path


def good(start: int = T0, count: int = 10, close: float = 2.0) -> list[tuple[object, ...]]:
    return [((start + k * MINUTE) // 1000, 2.0, 3.0, 1.0, close, 5.0) for k in range(count)]


def bring(store: Store, *paths: Path, symbol: str = "BTCUSDT") -> Any:
    options = ReadOptions(venue="BINANCE", timeframe=Timeframe.parse("1m"), symbol=symbol)
    with running(store, "import") as run:
        importing.import_files(store, Config(), run, paths, options)
    return run


def test_one_bad_file_does_not_stop_the_others(lake: Lake, tmp_path: Path) -> None:
    """It is named, the run is incomplete, and the others are in."""
    (tmp_path / "b.csv").write_text("nothing,to\nsee,here\n")
    files = [csv(tmp_path / "a.csv", good()), tmp_path / "b.csv", csv(tmp_path / "c.csv", good(T0 + HOUR))]
    run = bring(lake.store, *files)
    assert (run.outcome, run.exit_code) == ("incomplete", 1)
    assert "b.csv" in str(run.audit.errors)
    assert lake.bars(BTC, "1m").height == 20


def test_the_same_file_twice_changes_nothing_but_the_ledger(lake: Lake, tmp_path: Path) -> None:
    """Bars unchanged, refused rows kept once, the same answered spans; also when named twice in one call."""
    path = csv(tmp_path / "a.csv", [*good(), (T0 // 1000 + 600_000, 2.0, 1.0, 3.0, 2.0, 5.0)])
    first = bring(lake.store, path)
    answered = lake.store.meta.answered(Timeframe.parse("1m"))
    again = bring(lake.store, path, path)
    assert first.document["totals"]["written"] == 10
    totals = again.document["totals"]
    assert (totals["written"], totals["corrected"], totals["quarantined"]) == (
        0,
        0,
        totals["read"] - totals["unchanged"],
    )
    assert lake.quarantine("1m").height == 1
    assert lake.store.meta.answered(Timeframe.parse("1m")) == answered


def test_a_corrected_file_of_the_same_name_corrects(lake: Lake, tmp_path: Path) -> None:
    """The old values stay readable, and the file's claim grows with it."""
    bring(lake.store, csv(tmp_path / "a.csv", good()))
    before = lake.store.clock()
    run = bring(lake.store, csv(tmp_path / "a.csv", good(count=12, close=2.5)))
    assert {k: run.document["totals"][k] for k in ("written", "corrected")} == {"written": 2, "corrected": 10}
    assert lake.bars(BTC, "1m", as_of=before)["close"].to_list() == [2.0] * 10
    assert lake.store.meta.answered(Timeframe.parse("1m"))[BTC].bars(Timeframe.parse("1m")) == 12


def test_a_file_of_bad_rows_only_is_an_honest_account(lake: Lake, tmp_path: Path) -> None:
    """Every row is refused with its reason; the run ends, and a second time keeps nothing twice."""
    rows = [(t, "x", 3.0, 1.0, 2.0, 5.0) for t, *_ in good()]
    for _ in range(2):
        run = bring(lake.store, csv(tmp_path / "a.csv", rows))
        assert run.document["totals"]["quarantined"] == 10
        assert run.outcome in ("complete", "incomplete")
    assert lake.bars(None, "1m").height == 0
    assert lake.quarantine().height == 10


@pytest.mark.parametrize("when", [9_999_999_999_999, 253_402_300_740_000, -2_208_988_860_000])
def test_a_row_from_another_millennium_claims_nothing(lake: Lake, tmp_path: Path, when: int) -> None:
    """One mistyped time must not make the file answer for, or plan, thousands of years."""
    run = bring(lake.store, csv(tmp_path / "a.csv", [*good(), (when, 2.0, 3.0, 1.0, 2.0, 5.0)]))
    assert run.document["totals"]["written"] == 10
    assert run.document["totals"]["quarantined"] == 1
    assert lake.store.meta.answered(Timeframe.parse("1m"))[BTC].total <= DAY


# ---------------------------------------------------------------- asking


def wanted(lake: Lake, verb: str = "backfill", **options: Any) -> planning.Wanted:
    return planning.wanted(lake, verb, **{"symbols": BTC, "timeframes": "1m", "start": "2025-05-01"} | options)


def test_an_end_in_the_future_is_now(lake: Lake) -> None:
    """Bars that cannot be yet are not asked for."""
    asked = wanted(lake, end="2099-01-01")
    assert asked.span is not None
    assert asked.span.end <= lake.store.clock()
    assert all(t.span.end <= lake.store.clock() for _, p in planning.make_plan(asked).parts for t in p.tasks)


@pytest.mark.parametrize(
    "options",
    [
        {"start": "2099-01-01"}, {"start": "2025-05-02", "end": "2025-05-01"}, {"days": 3}, {"universe": "all"},
        {"start": None, "days": 0}, {"start": None, "days": -1}, {"start": None}, {"symbols": None},
        {"source": "binanse"}, {"symbols": "BTCUSDT"}, {"symbols": "NOWHERE:X"}, {"timeframes": "1x"},
        {"source": "binance-usdm"},
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_told(lake: Lake, options: dict[str, Any]) -> None:
    """Each has its own sentence; nothing is asked of anybody."""
    with pytest.raises(UsageError) as told:
        wanted(lake, **options)
    assert told.value.hint


@pytest.mark.parametrize(("timeframes", "bars"), [("1d", 9), ("1w", 1), ("1d,1w,1d", 10), ("4h", 54)])
def test_long_bars_are_planned_by_their_opens(lake: Lake, timeframes: str, bars: int) -> None:
    """2025-05-02 to 2025-05-11 holds nine days and one Monday; a timeframe named twice is asked once."""
    asked = wanted(lake, timeframes=timeframes, start="2025-05-02", end="2025-05-11")
    assert sum(p.bars for _, p in planning.make_plan(asked).parts) == bars


def test_several_sources_in_one_call_have_a_plan_each(lake: Lake) -> None:
    """Spot and futures of one symbol are two series of two sources; a symbol named twice is one."""
    asked = wanted(lake, symbols=f"{BTC},BINANCEUSDM:BTCUSDT,{BTC}", end="2025-05-02")
    plans = planning.make_plan(asked)
    assert [(s.name, p.bars) for s, p in plans.parts] == [("binance", 1440), ("binance-usdm", 1440)]
    assert plans.to_dict()["bars"] == 2880


def test_an_open_start_is_the_first_time_anybody_asked(lake: Lake) -> None:
    """``--end`` alone plans what is missing of what was asked for, per series, not everything since 1900."""
    bar = Timeframe.parse("1m")
    for name, first in ((BTC, T0), ("BINANCE:ETHUSDT", T0 + HOUR)):
        span = Span(first, first + 2 * HOUR)
        part = Span(first, first + HOUR)
        lake.store.record([Answer("x", Series.parse(name, "1m"), span, part, 60, "ok", 1, "", "", "r", first + DAY)])
        lake.write(name, "1m", frame(first, 60))
    asked = wanted(lake, "repair", symbols=f"{BTC},BINANCE:ETHUSDT", start=None, end="2025-05-01T04:00")
    found = [(str(t.series.instrument), t.span) for _, p in planning.make_plan(asked).parts for t in p.tasks]
    assert found == [(BTC, Span(T0 + HOUR, T0 + 4 * HOUR)), ("BINANCE:ETHUSDT", Span(T0 + 2 * HOUR, T0 + 4 * HOUR))]
    assert sum(lake.gaps(end="2025-05-01T04:00")["bars"]) == sum(s.bars(bar) for _, s in found)


def test_another_way_to_fold_makes_stale_what_was_built_of_folded_bars(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features of hours that were folded from minutes are built again; those of the minutes stand."""
    lake.write(BTC, "1m", frame(count=1440))
    features = {"mean": "sma(close, 2)", "hours": "sma(close, 2) @ 1h"}

    def built() -> tuple[int, int]:
        report = lake.build(features, [BTC], "1m")
        return report["rows"], report["longer"][0]["rows"]

    assert built() == (1440, 24)
    assert built() == (0, 0)
    monkeypatch.setattr(views, "FOLDING", b"another")
    assert built() == (0, 24)
