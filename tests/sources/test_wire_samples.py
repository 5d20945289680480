"""Recorded answers, read as they came and then spoilt: a source reads the same from them, or says what is wrong."""

from __future__ import annotations

import asyncio
import copy
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.engine.fetch import received
from gapless.errors import Faulty, GaplessError, SourceError
from gapless.protocols import Page, Source
from gapless.series import Instrument, Series
from gapless.sources.bitfinex import bitfinex, from_pair
from gapless.sources.polygon import polygon
from gapless.sources.yahoo import yahoo
from gapless.spans import SECOND, Span, Timeframe
from recorded import Recorded

WIRE = Path(__file__).parents[2].parent / "shared" / "wire"
pytestmark = pytest.mark.skipif(not WIRE.exists(), reason="recorded answers are not part of the project")
Json = Any


@dataclass(frozen=True)
class Sample:
    """A recorded answer: who reads it, as what, and where its rows stand."""

    name: str
    make: Callable[[], Source]
    series: Series
    span: Span
    doc: Json
    rows: tuple[str | int, ...]  # path of the list of rows, or of each column's list
    ticker: tuple[str | int, ...] = ()  # path of the name, where the answer tells it

    def read(self, doc: Json) -> Page | GaplessError:
        """As the engine takes it: what comes of it, or what is raised."""
        body = doc if isinstance(doc, bytes) else json.dumps(doc).encode()
        source = self.make()
        try:
            return received(
                asyncio.run(source.fetch(Recorded(body), self.series, self.span)), source.name, self.series, self.span
            )
        except GaplessError as error:
            return error

    @property
    def truth(self) -> pl.DataFrame:
        found = self.read(self.doc)
        assert isinstance(found, Page), found
        return found.frame


@cache
def samples() -> tuple[Sample, ...]:
    return (*_polygons(), *_yahoos(), *_bitfinexes()) if WIRE.exists() else ()


def _polygons() -> Iterator[Sample]:
    series = Series.parse("XNAS:AAPL", "1d")
    for path in sorted((WIRE / "massive_polygon").glob("v2__aggs__ticker__AAPL__range*")):
        doc = json.loads(path.read_text())
        make = lambda adjusted=doc["adjusted"]: polygon(key="k3y-nobody-sees", adjusted=adjusted)  # noqa: E731
        yield Sample(path.stem, make, series, Span.parse("2005-04-01", "2005-04-05"), doc, ("results",), ("ticker",))


def _yahoos() -> Iterator[Sample]:
    for path in sorted((WIRE / "yahoo_v8").glob("chart_*_5m_1d*.json")):
        doc = json.loads(path.read_text())
        result, times = ("chart", "result", 0), doc["chart"]["result"][0]["timestamp"]
        series = Series(Instrument("YAHOO", doc["chart"]["result"][0]["meta"]["symbol"]), Timeframe.parse("5m"))
        span = Span(times[0] * SECOND, times[-1] * SECOND + 300 * SECOND)
        make = lambda: yahoo(adjusted=True, venue="YAHOO")  # noqa: E731
        yield Sample(path.stem, make, series, span, doc, (*result, "timestamp"), (*result, "meta", "symbol"))


def _bitfinexes() -> Iterator[Sample]:
    for path in sorted((WIRE / "bitfinex_rest_pages").glob("*T12-00-00.json")):
        doc = json.loads(path.read_text())
        series = Series(from_pair("t" + path.stem.partition("_")[0]), Timeframe.parse("1m"))
        times = [row[0] * 1000 for row in doc]
        yield Sample(path.stem, bitfinex, series, Span(min(times), max(times) + 60 * SECOND), doc, ())


def at(doc: Json, path: Sequence[str | int]) -> Json:
    for step in path:
        doc = doc[step]
    return doc


def fields(doc: Json, here: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every key of every object, and every cell of every row; of long lists the first and the last two."""
    if isinstance(doc, dict):
        for key, value in doc.items():
            yield (*here, key)
            yield from fields(value, (*here, key))
    elif isinstance(doc, list):
        for n in sorted({0, 1, len(doc) - 2, len(doc) - 1} & set(range(len(doc)))):
            if isinstance(doc[n], list | dict):
                yield from fields(doc[n], (*here, n))
            elif here and isinstance(here[-1], int):  # a cell of a row
                yield (*here, n)


def without(doc: Json, path: Sequence[str | int]) -> Json:
    changed = copy.deepcopy(doc)
    del at(changed, path[:-1])[path[-1]]
    return changed


def names() -> list[str]:
    return [sample.name for sample in samples()]


def sample_of(name: str) -> Sample:
    return next(sample for sample in samples() if sample.name == name)


def outcome(found: Page | GaplessError) -> str:
    return f"{found.frame.height} bars" if isinstance(found, Page) else f"{type(found).__name__}: {found}"


@pytest.mark.parametrize("name", names())
def test_a_recorded_answer_without_a_field_says_which(name: str) -> None:
    """The same bars where nobody needs it; else a fault that names it (of a row: its place) and shows the body."""
    sample = sample_of(name)
    truth, needed = sample.truth, 0
    for path in fields(sample.doc):
        found = sample.read(without(sample.doc, path))
        if isinstance(found, Page):
            assert found.frame.drop("trades", strict=False).equals(truth.drop("trades", strict=False)), path
            continue
        needed += 1
        assert isinstance(found, Faulty), (path, outcome(found))
        lost = next((step for step in reversed(path) if isinstance(step, str)), f"$[{path[0]}]")
        assert lost in str(found), (path, outcome(found))
    assert needed >= 6


@pytest.mark.parametrize("name", names())
def test_a_recorded_answer_with_fields_that_nobody_knows_is_the_same(name: str) -> None:
    """In every object."""

    def more(doc: Json) -> Json:
        if isinstance(doc, dict):
            return {**{key: more(value) for key, value in doc.items()}, "zz_new": {"deep": [1, None]}}
        return [more(part) for part in doc] if isinstance(doc, list) else doc

    sample = sample_of(name)
    found = sample.read(more(sample.doc))
    assert isinstance(found, Page), outcome(found)
    assert found.frame.equals(sample.truth)


def reordered(sample: Sample, order: Sequence[int]) -> Json:
    """The rows in another order, some of them perhaps twice or not at all; columns alike."""
    doc = copy.deepcopy(sample.doc)
    size = len(at(doc, sample.rows))
    if not sample.rows:
        return [doc[n] for n in order]

    def change(node: Json) -> Json:
        if isinstance(node, dict):
            return {key: change(value) for key, value in node.items()}
        if isinstance(node, list):
            return [node[n] for n in order] if len(node) == size and size > 1 else [change(part) for part in node]
        return node

    doc = change(doc)
    if "resultsCount" in doc:
        doc["resultsCount"] = len(order)
    return doc


@pytest.mark.parametrize("name", names())
def test_a_recorded_answer_in_another_order_or_said_twice_is_the_same(name: str) -> None:
    """Backwards, shuffled, every row twice, the last one twice."""
    sample = sample_of(name)
    size = len(at(sample.doc, sample.rows))
    shuffled = random.Random(7).sample(range(size), size)
    for order in ([*range(size)][::-1], shuffled, [*range(size)] * 2, [*range(size), size - 1]):
        found = sample.read(reordered(sample, order))
        assert isinstance(found, Page), outcome(found)
        assert found.frame.equals(sample.truth)
        assert found.covered == Span(sample.span.start, found.covered.end)


@pytest.mark.parametrize("name", names())
def test_a_recorded_answer_of_another_instrument_or_span_is_caught(name: str) -> None:
    """By its name where it tells one, by its times always; never stored as what was asked for."""
    sample = sample_of(name)
    if sample.ticker:
        doc = copy.deepcopy(sample.doc)
        at(doc, sample.ticker[:-1])[sample.ticker[-1]] = "ZZZZ"
        found = sample.read(doc)
        assert isinstance(found, Faulty), outcome(found)
        assert "ZZZZ" in str(found)
    size = sample.series.timeframe.micros
    away = Sample(**{**vars(sample), "span": Span(sample.span.start - 900 * size, sample.span.start - 800 * size)})
    found = away.read(away.doc)
    assert isinstance(found, Faulty), outcome(found)


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just([]), st.just({}), st.just([[]]),
    st.sampled_from([10**30, -1, 0, 1e308, -1e308, float("nan"), float("inf")]),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_stands_in_an_answer_it_is_read_or_refused(data: st.DataObject) -> None:
    """Any field of any recorded answer replaced by anything: a page that was asked for, or an error of the source."""
    sample = data.draw(st.sampled_from(samples()), label="sample")
    path = data.draw(st.sampled_from(list(fields(sample.doc))), label="path")
    doc = copy.deepcopy(sample.doc)
    at(doc, path[:-1])[path[-1]] = data.draw(JUNK, label="junk")
    found = sample.read(doc)
    assert isinstance(found, Page | SourceError), outcome(found)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_an_answer_that_was_cut_off_is_a_fault(data: st.DataObject) -> None:
    """Anywhere, even at an edge of a row; its beginning is shown."""
    sample = data.draw(st.sampled_from(samples()), label="sample")
    body = json.dumps(sample.doc).encode()
    cut = body[: data.draw(st.integers(0, len(body) - 1), label="cut")]
    found = sample.read(cut)
    assert isinstance(found, Faulty), outcome(found)
    assert "it begins" in str(found)


LISTS = ("splits", "dividends", "tickers")


def listed(kind: str, body: bytes) -> Any:
    """What Polygon's source makes of a list."""
    source = polygon(key="k3y-nobody-sees")
    ask = {"splits": source.splits, "dividends": source.dividends}
    try:
        return asyncio.run(source.tickers(Recorded(body)) if kind == "tickers" else ask[kind](Recorded(body), "A"))
    except GaplessError as error:
        return error


def recorded_list(kind: str) -> Json:
    return json.loads((WIRE / f"massive_polygon/v3__reference__{kind}.json").read_text()) | {"next_url": None}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_stands_in_a_list_it_is_read_or_refused(data: st.DataObject) -> None:
    """Splits, dividends and tickers: with any field gone or replaced by anything."""
    kind = data.draw(st.sampled_from(LISTS), label="kind")
    doc = recorded_list(kind)
    path = data.draw(st.sampled_from([p for p in fields(doc) if p != ("next_url",)]), label="path")
    if data.draw(st.booleans(), label="gone"):
        doc = without(doc, path)
    else:
        at(doc, path[:-1])[path[-1]] = data.draw(JUNK, label="junk")
    found = listed(kind, json.dumps(doc).encode())
    assert isinstance(found, SourceError | list), found
    if isinstance(found, Faulty):
        assert "begins" in str(found)


@pytest.mark.parametrize("kind", LISTS)
def test_a_recorded_list_without_a_needed_field_says_which(kind: str) -> None:
    """Named, with the beginning of its row."""
    needed = {"splits": 4, "dividends": 3, "tickers": 3}
    doc, named = recorded_list(kind), set()
    for key in doc["results"][1]:
        found = listed(kind, json.dumps(without(doc, ("results", 1, key))).encode())
        if isinstance(found, GaplessError):
            assert isinstance(found, Faulty)
            assert f"'{key}'" in str(found)
            named.add(key)
    assert len(named) == needed[kind]
