"""The wire format: the shape the real venue sends, and text that reads back as the very same numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.sim.blocks import COLUMNS, QUOTE, TAKER, TAKER_QUOTE, TRADES, VOLUME, Block, Scale
from gapless.sim.wire import print_rows, split
from gapless.spans import MINUTE, Timeframe

ONE_MINUTE = Timeframe.parse("1m")
ON_WIRE = {1: 0, 2: 1, 3: 2, 4: 3, 5: VOLUME, 7: QUOTE, 8: TRADES, 9: TAKER, 10: TAKER_QUOTE}


def shape(value: Any) -> Any:
    """Types all the way down; decimals in text by how many decimals they have where they are padded."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return type(value).__name__


def whole(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high)


@settings(max_examples=150, deadline=None)
@given(
    price=whole(0, 8), volume=whole(0, 8), quote=whole(0, 8), pad=st.booleans(),
    rows=st.lists(st.tuples(*[whole(0, 10**14)] * len(COLUMNS)), min_size=1, max_size=30),
)  # fmt: skip
def test_printed_text_reads_back_as_the_same_numbers(
    price: int, volume: int, quote: int, pad: bool, rows: list[tuple[int, ...]]
) -> None:
    """Any ticks and steps, any decimals, both dresses: valid JSON, canonical decimals, the same float64."""
    ts = 1_700_000_000_000_000 // MINUTE * MINUTE + np.arange(len(rows), dtype=np.int64) * MINUTE
    scale = Scale(price, volume, quote)
    block = Block.from_units(ts, np.array(rows, dtype=np.int64).T, scale)
    printed = print_rows(block, ONE_MINUTE, pad=pad)
    parsed = json.loads(b"[" + printed.text[:-1] + b"]")
    for i, (row, opened) in enumerate(zip(parsed, ts.tolist(), strict=True)):
        assert row[0] * 1000 == opened
        assert row[6] == row[0] + 59_999
        assert row[11] == "0"
        for at, column in ON_WIRE.items():
            assert float(row[at]) == block.values[column, i]
            if column != TRADES:
                places = 8 if pad else scale.digits[column]
                assert row[at] == f"{rows[i][column] // 10 ** scale.digits[column]}" + (
                    f".{rows[i][column] % 10 ** scale.digits[column]:0{scale.digits[column]}d}".ljust(places + 1, "0")
                    if scale.digits[column]
                    else ("." + "0" * places if places else "")
                )


def test_rows_are_slices() -> None:
    """Any run of rows is one slice of the day's text, and ``split`` takes it apart again."""
    ts = np.arange(5, dtype=np.int64) * MINUTE
    block = Block.from_units(ts, np.arange(45, dtype=np.int64).reshape(9, 5) * 7, Scale(2, 3))
    printed = print_rows(block, ONE_MINUTE, pad=True)
    assert split(printed.rows(1, 4)) == split(printed.text)[1:4]
    assert printed.rows(2, 2) == b""
    assert split(b"") == []


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.floats(0, 1e15, allow_subnormal=False), min_size=9, max_size=9))
def test_values_without_decimals_of_their_own_print_exactly(values: list[float]) -> None:
    """Replayed numbers that are no multiples of a tick print in full, never with an exponent, and read back exactly."""
    block = Block(np.array([0]), np.array(values).reshape(-1, 1), None)
    row = json.loads(split(print_rows(block, ONE_MINUTE, pad=True).text)[0])
    for at, column in ON_WIRE.items():
        expected = int(values[column]) if column == TRADES else values[column]
        assert float(row[at]) == expected
        assert "e" not in str(row[at])


def test_spot_klines_have_the_recorded_shape(venue: Any, recorded: Any) -> None:
    """Twelve fields of the recorded types; decimals padded to eight, as recorded."""
    sample = recorded("binance_nautilus_lgpl/http_responses__http_spot_market_klines.json")
    with venue() as (_, get):
        rows = get.klines(limit=10)
    assert shape(rows) == shape(sample)
    places = [[len(v.partition(".")[2]) if isinstance(v, str) else None for v in row] for row in (*rows, *sample)]
    assert all(row == places[0] for row in places)
    assert [r[6] - r[0] for r in rows] == [r[6] - r[0] for r in sample]


def test_usdm_klines_have_the_recorded_shape(venue: Any, recorded: Any) -> None:
    """The same fields on the futures API, with only as many decimals as the tick has."""
    sample = recorded("binance_nautilus_lgpl/http_responses__http_futures_market_continuous_klines.json")
    with venue() as (_, get):
        rows = get("/fapi/v1/klines", symbol="BTCUSDT", interval="1m", limit=1).json
    assert shape(rows) == shape(sample)
    assert len(rows[0][1].partition(".")[2]) == len(sample[0][1].partition(".")[2]) == 2


@pytest.mark.parametrize(
    ("path", "sample"),
    [
        ("/api/v3/exchangeInfo", "http_spot_market_exchange_info"),
        ("/fapi/v1/exchangeInfo", "http_futures_market_exchange_info"),
    ],
)
def test_exchange_info_has_the_recorded_keys(venue: Any, recorded: Any, path: str, sample: str) -> None:
    """Every key of the recorded answer is there with its type, in the answer, its symbols and its common filters."""
    real = recorded(f"binance_nautilus_lgpl/http_responses__{sample}.json")
    with venue() as (_, get):
        mine = get(path).json
    assert set(real) == set(mine)
    ours, theirs = mine["symbols"][0], real["symbols"][0]
    assert {k: shape(v) for k, v in theirs.items() if not isinstance(v, list)} == {
        k: shape(v) for k, v in ours.items() if not isinstance(v, list)
    }
    assert set(theirs) == set(ours)
    filters = {f["filterType"]: shape(f) for f in theirs["filters"]}
    for each in ours["filters"]:
        assert shape(each) == filters[each["filterType"]]


@pytest.mark.parametrize("name", ["time", "ping"])
def test_time_and_ping_have_the_recorded_shape(venue: Any, recorded: Any, name: str) -> None:
    """``{"serverTime": ms}`` and ``{}``."""
    real = recorded(f"binance_nautilus_lgpl/http_responses__http_spot_market_{name}.json")
    with venue() as (_, get):
        assert shape(get(f"/api/v3/{name}").json) == shape(real)


def test_a_client_needs_no_more_than_http(venue: Any) -> None:
    """Headers: JSON with Binance's charset, the used weight, and a length."""
    with venue() as (_, get):
        got = get("/api/v3/klines", symbol="BTCUSDT", interval="1m", limit=2)
    assert got.headers["Content-Type"] == "application/json;charset=UTF-8"
    assert got.headers["X-MBX-USED-WEIGHT-1M"] == "2"
    assert int(got.headers["Content-Length"]) == len(got.body)
