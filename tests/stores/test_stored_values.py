"""Where values are kept: each as it was known at any time, claimed only with the answer it came in, and looked over."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.bars import TS
from gapless.protocols import ValueAnswer
from gapless.series import Instrument
from gapless.spans import DAY, HOUR, MINUTE, Span, SpanSet, parse_time
from gapless.stores.lake import Lake
from gapless.stores.maintain import verify

T = parse_time("2025-05-01")
BTC = Instrument("BINANCEUSDM", "BTCUSDT")


def frame(rows: dict[int, float]) -> pl.DataFrame:
    ordered = sorted(rows)
    data = {"ts": ordered, "value": [rows[ts] for ts in ordered]}
    return pl.DataFrame(data, schema={"ts": pl.Int64, "value": pl.Float64}).with_columns(pl.col("ts").cast(TS))


def answer(
    answered: Span | None = None, *, asked: Span | None = None, ended: bool = False, error: str = ""
) -> ValueAnswer:
    span = asked or answered or Span(T, T + DAY)
    return ValueAnswer("there", "funding_rate", BTC, span, answered, 0, 1, error, "run", 0, ended)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", clock=lambda: T)


@settings(max_examples=25)
@given(st.lists(st.dictionaries(st.integers(0, 8), st.sampled_from([0.0, -1.5, 2.0]), max_size=5), max_size=6))
def test_every_value_is_readable_as_it_was_known_at_any_time(
    tmp_path_factory: pytest.TempPathFactory, told: list[dict[int, float]]
) -> None:
    """As of a time: for each stamp the value told last by then; the counts say what was new, other, the same."""
    now = T
    lake = Lake(tmp_path_factory.mktemp("lake"), clock=lambda: now)
    stands: dict[int, float] = {}
    seen = [(now - 1, dict(stands))]
    for rows in told:
        now += HOUR
        stamped = {T + k * HOUR: value for k, value in rows.items()}
        counts = lake.keep_values(answer(), frame(stamped))
        new, other = stamped.keys() - stands.keys(), {t for t in stamped if t in stands and stands[t] != stamped[t]}
        assert (counts.read, counts.written, counts.corrected) == (len(stamped), len(new), len(other))
        stands |= stamped
        seen.append((now, dict(stands)))
    for at, known in seen:
        rows = lake.values.read("funding_rate", [str(BTC)], as_of=at)
        assert dict(zip(rows["ts"].to_physical(), rows["value"], strict=True)) == known
        assert (rows["known_at"].to_physical() <= at).all()
    assert lake.values.verify() == []
    lake.close()


def test_a_correction_at_the_same_instant_is_known_after_what_it_replaces(lake: Lake) -> None:
    """Two answers within one µs of the clock keep their order."""
    lake.keep_values(answer(), frame({T: 1.0}))
    lake.keep_values(answer(), frame({T: 2.0}))
    assert lake.values.read("funding_rate", as_of=T)["value"].to_list() == [1.0]
    assert lake.values.read("funding_rate", as_of=T + 1)["value"].to_list() == [2.0]
    assert lake.values.held()[0].superseded == 1


def test_what_was_answered_is_joined_and_what_failed_claims_nothing(lake: Lake) -> None:
    """Spans that touch become one; a failure is a line of the ledger and no claim."""
    for start, end in ((0, 2), (4, 6), (2, 3)):
        lake.keep_values(answer(Span(T + start * HOUR, T + end * HOUR)), frame({}))
    lake.keep_values(answer(error="refused"), frame({}))
    assert lake.values.answered("funding_rate") == {
        str(BTC): SpanSet.of((T, T + 3 * HOUR), (T + 4 * HOUR, T + 6 * HOUR))
    }
    assert [line["error"] for line in lake.values.history("funding_rate", str(BTC))] == ["", "", "", "refused"]
    assert lake.values.asked_until("funding_rate") == {}
    lake.keep_values(answer(Span(T, T + HOUR), asked=Span(T, T + 9 * HOUR), ended=True), frame({}))
    assert lake.values.asked_until("funding_rate") == {str(BTC): T + 9 * HOUR}


def test_a_lake_without_values_has_no_file_of_them(lake: Lake) -> None:
    """Reading makes none; the first value does; an older lake opens as it is."""
    assert not lake.values.read("open_interest").height
    assert lake.values.answered("open_interest") == {}
    assert lake.values.version() is None
    assert not lake.values.path.exists()
    lake.keep_values(answer(), frame({T: 1.0}))
    assert lake.values.path.exists()


def test_what_came_since_is_found_by_its_oldest_time(lake: Lake) -> None:
    """A reader that knows everything up to a time learns from which value on something is new or other."""
    lake.keep_values(answer(), frame({T: 1.0, T + HOUR: 1.0}))
    lake.clock = lambda: T + DAY
    lake.keep_values(answer(), frame({T: 1.0, T + HOUR: 2.0, T + 2 * HOUR: 3.0}))
    names = ["funding_rate"], [str(BTC)]
    assert lake.values.learned(*names, T - 1) == T
    assert lake.values.learned(*names, T) == T + HOUR
    assert lake.values.learned(*names, T + DAY) is None
    assert lake.values.learned(["open_interest"], [str(BTC)], 0) is None
    assert lake.values.latest("funding_rate", [str(BTC)], T + 90 * MINUTE, T) == {str(BTC): 2.0}
    assert lake.values.latest("funding_rate", [str(BTC)], T + 90 * MINUTE, T + 61 * MINUTE) == {}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE value SET value = NULL", "no numbers"),
        ("UPDATE superseded SET known_to = known_from", "contradict"),
        ("INSERT INTO answered VALUES (1, 5, 5)", "overlap"),
    ],
)
def test_verify_finds_what_cannot_be(lake: Lake, damage: str, said: str) -> None:
    """Each in words, from the lake's own check."""
    lake.keep_values(answer(Span(T, T + HOUR)), frame({T: 1.0}))
    lake.keep_values(answer(), frame({T: 2.0}))
    assert verify(lake) == []
    database = lake.values._open()
    with database.transaction() as db:
        db.execute(damage)
    problems = verify(lake)
    assert len(problems) == 1
    assert said in problems[0]


def test_half_a_million_values_are_stored_and_read_in_order(lake: Lake) -> None:
    """Open interest of a month of sixty perpetuals; one of them is read alone."""
    for k in range(60):
        one = ValueAnswer("there", "open_interest", Instrument("V", f"S{k}"), Span(T, T + DAY), None, 0, 1, "", "r", 0)
        assert lake.keep_values(one, frame({T + i * 5 * MINUTE: float(i + k) for i in range(8640)})).written == 8640
    rows = lake.values.read("open_interest")
    assert rows.height == 60 * 8640
    assert rows.select("instrument", "ts").equals(rows.select("instrument", "ts").sort("instrument", "ts"))
    assert lake.values.read("open_interest", ["V:S7"], Span(T, T + HOUR))["value"].to_list() == [
        7.0 + i for i in range(12)
    ]
