"""Instruments: versions of what is known of them, lives under one name, and names of one life."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gapless as gl
from gapless.app.instruments import by_ticker, import_maps, lines, resolve, sync
from gapless.bars import VALUES
from gapless.config import parse
from gapless.errors import InputError, UnknownName, UsageError
from gapless.protocols import Listing
from gapless.series import Instrument
from gapless.sim import SimConfig, running
from gapless.sources.files_names import read_symbols
from gapless.spans import EARLIEST, LATEST, SpanSet, parse_time
from gapless.stores.instruments import Version, lives, timeline, valid_at

SHARED = Path(__file__).parents[2].parent / "shared"
MAPS = SHARED / "data" / "equity" / "map_files"
real = pytest.mark.skipif(not MAPS.is_dir(), reason="needs ../shared/data/equity/map_files")
A = Instrument("BINANCE", "AUSDT")
CALM = SimConfig(symbols=("BTCUSDT", "ETHUSDT", "SOLUSDT"), outages_per_month=0, halts_per_month=0)


@pytest.fixture
def lake(tmp_path: Path) -> gl.Lake:
    return gl.open(tmp_path / "lake", config=parse({"universes": {"two": {"symbols": ["BINANCE:BTCUSDT"]}}}))


@pytest.fixture(scope="module")
def venue() -> Iterator[str]:
    with running(CALM) as found:
        yield found.url


def tell(lake: gl.Lake, now: int, status: str = "trading", **told: Any) -> None:
    """What a source says of A at a time."""
    listing = Listing(A, status, told.pop("listed_at", None), told.pop("delisted_at", None), told)
    lake.store.meta.store_listings([listing], how="made", now=now)


def versions(lake: gl.Lake) -> list[Version]:
    return lake.store.meta.instruments.history([str(A)])[str(A)]


# ---------------------------------------------------------------- versions


def test_only_what_matters_opens_a_version(lake: gl.Lake) -> None:
    """A new tick size or status does; the time of the answer, a volume, and another way to write a number do not."""
    tell(lake, 10, tick="0.0100", quote="USDT")
    tell(lake, 20, tick="0.01", quote="USDT", updated_at="20", volume="5", last_price="3")
    assert len(versions(lake)) == 1
    tell(lake, 30, tick="0.001", quote="USDT")
    tell(lake, 40, tick="0.001", quote="USDT", status="halt")
    assert [(v.valid_from, v.metadata["tick"], v.status) for v in versions(lake)] == [
        (10, "0.0100", "trading"), (30, "0.001", "trading"), (40, "0.001", "halt"),
    ]  # fmt: skip


def test_as_of_finds_what_held_then(lake: gl.Lake) -> None:
    """Each version holds to the start of the next; before the first, the first, for nothing else is known."""
    for now, tick in ((10, "1"), (30, "2"), (50, "3")):
        tell(lake, now, tick=tick)
    assert [valid_at(versions(lake), at).metadata["tick"] for at in (0, 10, 29, 30, 99)] == ["1", "1", "1", "2", "3"]
    assert [v.valid_to for v in timeline(versions(lake))] == [30, 50, None]


def test_a_listing_date_that_is_learned_later_mends_the_version(lake: gl.Lake) -> None:
    """It does not split time: the world did not change when we learned it."""
    tell(lake, 10, tick="1")
    tell(lake, 20, tick="1", listed_at=5)
    assert [(v.valid_from, v.listed_at) for v in timeline(versions(lake))] == [(10, 5)]
    assert lives(versions(lake)) == SpanSet.of((5, LATEST))


def test_a_delisting_holds_from_its_date(lake: gl.Lake) -> None:
    """Told at 50 that it ended at 40: it traded until 40."""
    tell(lake, 10, listed_at=5)
    tell(lake, 50, "delisted", delisted_at=40)
    assert [valid_at(versions(lake), at).status for at in (39, 40)] == ["trading", "delisted"]
    assert lives(versions(lake)) == SpanSet.of((5, 40))


def test_a_name_that_is_used_again_is_another_life(lake: gl.Lake) -> None:
    """Listed 5, delisted 40, listed again 60: two lives with nothing between, and metadata of each."""
    tell(lake, 10, listed_at=5, base="OLD")
    tell(lake, 50, "delisted", delisted_at=40, base="OLD")
    tell(lake, 70, listed_at=60, base="NEW")
    assert lives(versions(lake)) == SpanSet.of((5, 40), (60, LATEST))
    assert [valid_at(versions(lake), at).metadata["base"] for at in (30, 59, 60)] == ["OLD", "OLD", "NEW"]


def test_a_second_source_does_not_take_away_what_the_first_said(lake: gl.Lake) -> None:
    """What it does not know stays, and there is no new version each time they take turns."""
    tell(lake, 10, base="A", tick="1")
    tell(lake, 20, base="A", isin="X")
    tell(lake, 30, base="A", tick="1")
    assert [dict(v.metadata) for v in versions(lake)] == [
        {"base": "A", "tick": "1"}, {"base": "A", "isin": "X", "tick": "1"}
    ]  # fmt: skip


told = st.tuples(st.sampled_from(["trading", "halt"]), st.sampled_from(["1", "2"]))


@settings(max_examples=25, deadline=None)
@given(st.lists(told, min_size=1, max_size=8))
def test_what_was_told_is_what_is_found(tmp_path_factory: pytest.TempPathFactory, said: list[tuple[str, str]]) -> None:
    """At the time of each telling, and ever after until the next, that is what held."""
    lake = gl.open(tmp_path_factory.mktemp("lake") / "lake")
    for at, (status, tick) in enumerate(said):
        tell(lake, 10 * (at + 1), status, tick=tick)
    for at, (status, tick) in enumerate(said):
        for moment in (10 * (at + 1), 10 * (at + 1) + 9):
            found = valid_at(versions(lake), moment)
            assert (found.status, found.metadata["tick"]) == (status, tick)
    lake.store.close()


# ---------------------------------------------------------------- syncing


def test_a_run_syncs_only_what_it_names(lake: gl.Lake, venue: str, tmp_path: Path) -> None:
    """By symbols, by a universe, by a file: only those are stored; again, no version opens."""
    url = {"base_url": venue}
    assert sync(lake, symbols="BINANCE:ETHUSDT", **url)["instruments"] == 1
    assert sync(lake, universe="two", **url)["versions"] == 1
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"meta": {}, "data": [{"symbol": "BINANCE:SOLUSDT"}, {"symbol": "BINANCE:ETHUSDT"}]}))
    found = sync(lake, file=path, **url)
    assert (found["instruments"], found["versions"]) == (2, 1)
    assert [x["instrument"] for x in lines(lake, None, as_of=None)] == [f"BINANCE:{s}" for s in sorted(CALM.symbols)]
    assert sync(lake, name="binance", **url)["versions"] == 0


def test_what_a_source_lists_no_more_is_delisted(lake: gl.Lake, venue: str) -> None:
    """A symbol that vanished ends after its last stored bar, and stays known."""
    sync(lake, name="binance", base_url=venue)
    gone = Listing(Instrument("BINANCE", "OLDUSDT"), metadata={"base": "OLD", "quote": "USDT"})
    lake.store.meta.store_listings([gone], how="binance says so", now=lake.store.clock())
    ts = pl.Series([parse_time("2024-01-02")]).cast(pl.Datetime("us", "UTC"))
    bars = pl.DataFrame({"ts": ts}).with_columns(pl.lit(1.0).alias(n) for n in VALUES)
    lake.write("BINANCE:OLDUSDT", "1d", bars)
    assert sync(lake, name="binance", base_url=venue)["gone"] == 1
    (found,) = [x for x in lines(lake, None, as_of=None) if x["instrument"] == "BINANCE:OLDUSDT"]
    assert (found["status"], found["delisted_at"]) == ("delisted", "2024-01-03T00:00:00Z")
    assert sync(lake, name="binance", base_url=venue)["gone"] == 0


def test_an_answer_that_lost_nearly_everything_is_not_believed(lake: gl.Lake, venue: str) -> None:
    """When most of what was listed is missing, nothing is delisted, and the run says so."""
    many = [Listing(Instrument("BINANCE", f"X{k}USDT")) for k in range(20)]
    lake.store.meta.store_listings(many, how="binance says so", now=lake.store.clock())
    found = sync(lake, name="binance", base_url=venue)
    assert found["gone"] == 0
    assert "not believed" in found["notes"][0]


def test_a_symbol_that_is_not_listed_is_told(lake: gl.Lake, venue: str) -> None:
    """By name, in the notes; what is listed is stored all the same."""
    found = sync(lake, symbols="BINANCE:BTCUSDT,BINANCE:NOPEUSDT", base_url=venue)
    assert (found["instruments"], found["notes"]) == (1, ["binance lists no BINANCE:NOPEUSDT"])


def test_scopes_exclude_each_other(lake: gl.Lake, tmp_path: Path) -> None:
    """Two ways to name instruments, or none and no source, are wrong calls."""
    with pytest.raises(UsageError, match="each"):
        sync(lake, symbols="BINANCE:BTCUSDT", universe="two")
    with pytest.raises(UsageError, match="sync what"):
        sync(lake)
    with pytest.raises(UsageError, match="binance has no XNAS:AAPL"):  # of another venue it would be another's actions
        sync(lake, name="binance", symbols="BTCUSDT,XNAS:AAPL")


@pytest.mark.parametrize(
    "text", ["BINANCE:A, BINANCE:B\n", "# mine\nBINANCE:A\nBINANCE:B # yes\nBINANCE:A", '["BINANCE:A", "BINANCE:B"]',
             '[{"symbol": "BINANCE:A"}, {"symbol": "BINANCE:B", "x": 1}]', '{"data": ["BINANCE:A", "BINANCE:B"]}']
)  # fmt: skip
def test_lists_of_symbols_are_read(tmp_path: Path, text: str) -> None:
    """As text and as JSON, each symbol once, in order."""
    (tmp_path / "x").write_text(text)
    assert read_symbols(tmp_path / "x") == ["BINANCE:A", "BINANCE:B"]


@pytest.mark.parametrize("text", ["", "[", "{}", "[1]", '[{"name": "A"}]'])
def test_what_is_no_list_is_told(tmp_path: Path, text: str) -> None:
    """With the file's name."""
    (tmp_path / "x").write_text(text)
    with pytest.raises(InputError, match="x "):
        read_symbols(tmp_path / "x")


# ---------------------------------------------------------------- names


@real
def test_map_files_keep_reused_tickers_apart(lake: gl.Lake) -> None:
    """FB before 2003 is another company than FB since 2012; GOOG before 2014-04-03 is today's GOOGL."""
    import_maps(lake, [MAPS], "XNAS")
    meant = [
        str(resolve(lake.store, Instrument("XNAS", ticker), parse_time(day)))
        for ticker, day in [
            ("FB", "2001-01-02"), ("FB", "2015-01-02"), ("GOOG", "2014-04-02"), ("GOOG", "2014-04-03"),
            ("GOOGL", "2014-04-03"), ("TWX", "2000-01-03"), ("TWX", "2005-01-03"), ("AOL", "2000-01-03"),
            ("WMI", "2005-01-03"), ("QQQQ", "2008-01-02"), ("VXX", "2018-06-01"), ("VXXB", "2018-06-01"),
        ]
    ]  # fmt: skip
    assert [m.removeprefix("XNAS:") for m in meant] == [
        "FB.1", "FB", "GOOGL", "GOOG", "GOOGL", "TWX.1", "TWX", "TWX", "WM", "QQQ", "VXX.1", "VXX",
    ]  # fmt: skip
    assert lives(lake.store.meta.instruments.history(["XNAS:FB.1"])["XNAS:FB.1"]) == SpanSet.of(
        (parse_time("1999-09-29"), parse_time("2003-03-29"))
    )


@real
def test_bars_named_by_the_tickers_of_their_time_go_to_their_instruments(lake: gl.Lake) -> None:
    """One column of GOOG over a rename becomes two instruments; a time that no map knows stays under the ticker."""
    import_maps(lake, [MAPS], "XNAS")
    days = ["2004-08-18", "2010-01-04", "2014-04-02", "2014-04-03"]
    ts = pl.Series([parse_time(d) for d in days]).cast(pl.Datetime("us", "UTC"))
    found = by_ticker(lake.store, "XNAS", pl.DataFrame({"instrument": ["XNAS:GOOG"] * 4, "ts": ts}))
    assert found["instrument"].to_list() == ["XNAS:GOOG", "XNAS:GOOGL", "XNAS:GOOGL", "XNAS:GOOG"]


@real
def test_the_same_maps_again_change_nothing(lake: gl.Lake) -> None:
    """No name is new, and no version opens."""
    first = import_maps(lake, [MAPS], "XNAS")
    count = lake.store.meta.instruments.count()
    again = import_maps(lake, [MAPS], "XNAS")
    assert (first["written"], again["written"], again["notes"]) == (first["names"], 0, [])
    assert lake.store.meta.instruments.count() == count == first["instruments"]


@real
def test_who_was_listed_at_a_time_goes_by_dates(lake: gl.Lake) -> None:
    """Map files tell the delisted ones with their whole life: in it they were listed, before and after not."""
    import_maps(lake, [MAPS / "fb.1.csv", MAPS / "fb.csv"], "XNAS")

    def then(time: str) -> dict[str, str]:
        return {x["instrument"]: x["status"] for x in lines(lake, None, as_of=parse_time(time))}

    assert then("2001-01-01") == {"XNAS:FB": "not listed", "XNAS:FB.1": "listed"}
    assert then("2005-01-01") == {"XNAS:FB": "not listed", "XNAS:FB.1": "delisted"}
    assert then("2015-01-01") == {"XNAS:FB": "trading", "XNAS:FB.1": "delisted"}
    assert [x["status"] for x in lines(lake, "XNAS:FB", as_of=parse_time("2005-01-01"))] == ["not listed"]


def test_bars_by_ticker_need_names(lake: gl.Lake) -> None:
    """Without any map of the venue the option could do nothing, which is an error."""
    with pytest.raises(UsageError, match="no names of XNAS"):
        by_ticker(lake.store, "XNAS", pl.DataFrame({"instrument": ["XNAS:A"], "ts": [0]}))


@pytest.mark.parametrize(
    "text", ["", "20140402,goog,Q\n", "20140402,goog\n20140301,goog\n", "20141402,a\n20150101,a\n"]
)
def test_what_is_no_map_is_told(lake: gl.Lake, tmp_path: Path, text: str) -> None:
    """With the file's name, and nothing is stored."""
    (tmp_path / "goog.csv").write_text(text)
    with pytest.raises(InputError, match=r"goog\.csv"):
        import_maps(lake, [tmp_path / "goog.csv"], "XNAS")
    assert lake.store.meta.instruments.names() == []


def test_an_instrument_nobody_knows(lake: gl.Lake) -> None:
    """UnknownName, with what to do first."""
    with pytest.raises(UnknownName, match="sync first"):
        lines(lake, "BINANCE:BTCUSDT", as_of=None)


def test_lives_of_who_never_said(lake: gl.Lake) -> None:
    """Without dates it lives always, as far as versions know."""
    tell(lake, 10)
    assert lives(versions(lake)) == SpanSet.of((EARLIEST, LATEST))
