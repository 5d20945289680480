"""What every source passes. Each check's first line is the fact; a failure is an AssertionError that says what came."""

from __future__ import annotations

import json
from collections.abc import Callable

import polars as pl

from gapless.bars import PRICES, SCHEMA
from gapless.conformance.bench import (
    answered,
    body_of,
    listed,
    page_at,
    request_for,
    requests_of,
    run_all,
    server_time,
    shown,
    walked,
)
from gapless.conformance.changes import less, micros_in, more, other_values, with_rows
from gapless.conformance.subject import Json, Subject
from gapless.errors import Faulty, Refused, SourceError, Throttled
from gapless.protocols import Page, Paged
from gapless.series import Series
from gapless.spans import LATEST, SECOND, Span, Timeframe, iso

Check = Callable[[Subject], None]
_PAGE_SIZES = (2, 3, 7, 64)


def check_source(subject: Subject) -> None:
    """All checks; AssertionError with every one that failed."""
    run_all(CHECKS, subject)


# ---------------------------------------------------------------- what is asked is what comes


def edges_are_half_open(subject: Subject) -> None:
    """A page of [start, end) holds the bars that open at or after its start and before its end, whatever the edges."""
    opens, size = subject.opens, subject.series.timeframe.micros
    first, last = opens[3], opens[-4]
    for before, after in ((0, 0), (1, 0), (0, 1), (-1, 0), (0, -1), (size // 2, size // 2), (-size, size)):
        span = Span(first + before, last + after)
        page = page_at(subject, span)
        _same(page.frame, subject.bars(Span(span.start, page.covered.end)), f"{span}")
        expect(page.frame.height > 0, f"{span}: no bar came")


def nothing_is_claimed_beyond_the_last_bar(subject: Subject) -> None:
    """A page covers what was asked from its start to the close of its last bar, and holds every bar in between."""
    for count in (1, 2, 5):
        span = Span(subject.opens[2], subject.opens[2 + count])
        page = page_at(subject, span)
        close = subject.series.timeframe.floor(_last(page.frame)) + subject.series.timeframe.micros
        expect(page.covered.start == span.start, f"{span}: covered from {iso(page.covered.start)}")
        expect(page.covered.end <= min(span.end, close), f"{span}: covered to {iso(page.covered.end)}")


def an_empty_answer_proves_nothing(subject: Subject) -> None:
    """Where there is no bar the page is empty and covers nothing; an empty span too."""
    size = subject.series.timeframe.micros
    for span in (Span(subject.span.start, subject.span.start), Span(LATEST, LATEST + 10 * size)):
        page = page_at(subject, span)
        expect(page.frame.height == 0, f"{span}: {page.frame.height} bars came")
        expect(page.covered.end == page.covered.start, f"{span}: an empty page covers {page.covered}")


def pages_hold_no_more_than_they_may(subject: Subject) -> None:
    """A page never holds more than ``limits.page_bars``, and starts with the oldest bar."""
    for size in _PAGE_SIZES:
        page = page_at(subject, subject.span, size)
        expect(0 < page.frame.height <= size, f"{page.frame.height} bars came on a page of {size}")
        _same(page.frame, subject.truth.head(page.frame.height), f"pages of {size}")


def a_walk_gives_the_truth_once(subject: Subject) -> None:
    """Page by page, whatever the size of a page, every bar comes exactly once and none that is not true."""
    for size in _PAGE_SIZES:
        _same(walked(subject, subject.now, size), subject.truth, f"walked in pages of {size}")


def the_forming_bar_is_not_kept(subject: Subject) -> None:
    """Walked while the vendor's last bar is still forming, only what is final is kept."""
    size, source = subject.series.timeframe.micros, subject.make()
    now = subject.opens[-3] + size // 2
    kept = walked(subject, now, 64)
    _same(kept, subject.bars(Span(subject.span.start, _last(kept) + 1)), "what was kept")
    expect(_last(kept) + size + source.settle <= now, f"a bar of {iso(_last(kept))} was kept at {iso(now)}")


def the_columns_are_the_schemas(subject: Subject) -> None:
    """A page has the columns of the bar schema, in its types, and the instrument that was asked for."""
    frame = page_at(subject, subject.span).frame
    types = {name: SCHEMA.get(name) for name in frame.columns}
    expect(dict(frame.schema) == types, f"columns are {dict(frame.schema)}")
    expect(set(frame.columns) >= {"instrument", "ts", *PRICES, "volume"}, f"columns are {frame.columns}")
    expect(frame.get_column("instrument").unique().to_list() == [str(subject.series.instrument)], "another instrument")


# ---------------------------------------------------------------- wrong answers


def a_torn_answer_is_a_fault(subject: Subject) -> None:
    """A body that is cut off anywhere, is something else, or has another shape is Faulty, with its beginning told."""
    body = body_of(subject)
    torn = [body[: len(body) * n // 9] for n in range(1, 9)] + [body[:-n] for n in range(1, 9)]
    for text in [*torn, b"<html>502</html>", b'"x"', b"7", b"null"]:
        found = answered(subject, text)
        if text in torn and not subject.form.closed:
            _harmless(subject, text, "a body that is cut off")
        else:
            expect(isinstance(found, Faulty), f"{text[:40]!r} gave {shown(found)}")
    said = str(answered(subject, b"<html>502</html>"))
    expect("<html>502" in said, f"the body's beginning is not told: {said}")


def order_and_repetition_do_not_matter(subject: Subject) -> None:
    """Rows backwards, or twice, are the same bars, or a fault."""
    for change in (lambda rows: rows[::-1], lambda rows: [*rows, rows[-1]], lambda rows: rows[:1] + rows):
        _harmless(subject, _with_rows(subject, change), "rows moved")


def two_rows_of_one_time_that_disagree_are_a_fault(subject: Subject) -> None:
    """A time that comes twice with other values is never settled by chance."""
    changed = _with_rows(subject, lambda rows: [*rows, other_values(subject, rows[-1])])
    _harmless(subject, changed, "a row came again with other values")


def the_unit_of_times_may_change(subject: Subject) -> None:
    """Times in microseconds instead of milliseconds, in every row or in some, are the same bars, or a fault."""
    for step in (1, 2):

        def changed(rows: list[Json], step: int = step) -> list[Json]:
            return [micros_in(subject, row) if n % step == 0 else row for n, row in enumerate(rows)]

        _harmless(subject, _with_rows(subject, changed), "times in microseconds")


def unknown_fields_are_ignored(subject: Subject) -> None:
    """A field that nobody knows changes nothing."""
    page = answered(subject, subject.form.dump(more(_document(subject))))
    if not isinstance(page, Page):
        raise AssertionError(f"an unknown field gave {shown(page)}")
    _same(page.frame, subject.bars(subject.part), "with unknown fields")


def missing_fields_are_faults(subject: Subject) -> None:
    """Without any one of its fields an answer is the same bars, or a fault; never other bars."""
    for doc in less(_document(subject)):
        _harmless(subject, subject.form.dump(doc), "a field is missing")


def another_spans_bars_are_caught(subject: Subject) -> None:
    """The answer to another span is a fault, and so is another instrument's, where the answer tells."""
    half = len(subject.opens) // 2
    early = body_of(subject, Span(subject.opens[0], subject.opens[half - 2]))
    late = Span(subject.opens[half], subject.opens[-2])
    found = answered(subject, early, late)
    expect(isinstance(found, Faulty), f"the answer to another span gave {shown(found)}")
    symbol = subject.series.instrument.symbol.encode()
    if symbol in body_of(subject):
        found = answered(subject, body_of(subject).replace(symbol, b"QQ" + symbol))
        expect(isinstance(found, SourceError), f"the answer for another instrument gave {shown(found)}")


# ---------------------------------------------------------------- refusals, clock, names, keys


def refusals_are_told_apart(subject: Subject) -> None:
    """429 and 418 slow down, 5xx may be asked again, 4xx may not; whatever the body is."""
    wanted = {
        429: Throttled,
        418: Throttled,
        500: Faulty,
        502: Faulty,
        503: Faulty,
        400: Refused,
        403: Refused,
        404: Refused,
    }
    source = subject.make()
    for status, kind in wanted.items():
        for body in (b"", b"<html>no</html>", b'{"oops": [1, 2]}', b"[]", b"\xff\xfe"):
            error = source.refusal(status, {}, body)
            fits = isinstance(error, kind) or (status == 418 and isinstance(error, Refused))  # most vendors have no 418
            expect(fits, f"{status} with {body!r} is {type(error).__name__}, not {kind.__name__}")
            expect(str(status) in str(error), f"{status} is not told: {error}")


def the_clock_is_never_ahead(subject: Subject) -> None:
    """The vendor's time is told in µs, at most a second behind and not ahead."""
    told = server_time(subject)
    expect(subject.now - SECOND <= told <= subject.now, f"at {iso(subject.now)} the clock tells {iso(told)}")


def names_go_both_ways(subject: Subject) -> None:
    """What is listed, if anything, holds the instrument, and no two listed ones are asked for alike."""
    names = listed(subject)
    expect(not names or subject.series.instrument in names, f"{subject.series.instrument} is not among {names[:5]}")
    expect(len(set(names)) == len(names), "an instrument is listed twice")
    asked = {request_for(subject, Series(i, subject.series.timeframe)) for i in names[:20]}
    expect(len(asked) == len(names[:20]), "two instruments are asked for alike")


def a_page_has_a_price(subject: Subject) -> None:
    """Limits and weights make sense: at least two bars a page, and a page of more bars is no cheaper."""
    source = subject.make()
    costs = [source.weight_of(bars) for bars in (1, 10, 100, source.limits.page_bars)]
    expect(source.limits.page_bars >= 2 and source.limits.concurrency >= 1, f"limits are {source.limits}")
    expect(costs == sorted(costs) and costs[0] >= 0, f"weights are {costs}")
    expect(source.settle >= 0, f"settle is {source.settle}")


def what_it_says_of_pages_is_so(subject: Subject) -> None:
    """Where ``page_of`` tells how many bars a page holds, it does, and no timeframe has more than ``page_bars``."""
    source = subject.make()
    if not isinstance(source, Paged):
        return
    told = {name: source.page_of(timeframe) for name, timeframe in Timeframe.ALL.items()}
    expect(all(2 <= bars <= source.limits.page_bars for bars in told.values()), f"pages are said to hold {told}")
    for size in (*_PAGE_SIZES, source.limits.page_bars):
        sure = min(size, told[subject.series.timeframe.name], len(subject.opens))
        held = page_at(subject, subject.span, size).frame.height
        expect(held >= sure, f"{held} bars came on a page that is said to hold {sure}")


def keys_are_never_told(subject: Subject) -> None:
    """The key is in no address, no text of the source, and no error, even where the vendor repeats it."""
    if not subject.secret:
        return
    key, source = subject.secret, subject.make()
    for request in requests_of(subject):
        expect(key not in request.path + str(request.params), f"the key is in the address {request.path}")
    expect(key not in repr(source) + str(source), "the key is in the source's repr")
    echo = json.dumps({"error": key, "message": f"Bearer {key}", "status": key}).encode()
    told = [str(source.refusal(status, {"X": key}, echo)) for status in (400, 401, 403, 429, 500)]
    told += [str(answered(subject, body)) for body in (echo, key.encode(), b"[" + echo + b"]")]
    expect(not any(key in text for text in told), "the key is in an error")


# ---------------------------------------------------------------- comparing


def expect(holds: bool, words: str) -> None:
    """AssertionError with ``words`` unless it holds."""
    if not holds:
        raise AssertionError(words)


def _last(frame: pl.DataFrame) -> int:
    expect(frame.height > 0, "no bar came")
    return int(frame.get_column("ts").to_physical().to_list()[-1])


def _same(frame: pl.DataFrame, truth: pl.DataFrame, words: str) -> None:
    """The same times, and the same values wherever the frame tells one."""
    theirs, ours = (f.get_column("ts").to_physical().to_list() for f in (frame, truth))
    expect(theirs == ours, f"{words}: {len(theirs)} bars came, {len(ours)} are true{_first(theirs, ours)}")
    for name in frame.columns:
        told = frame.get_column(name)
        if name in truth.columns and told.dtype == pl.Float64:
            both = pl.DataFrame({"told": told.fill_nan(None), "true": truth.get_column(name)})
            wrong = both.filter(pl.col("told") != pl.col("true"))
            expect(not wrong.height, f"{words}: {name} came as {wrong.rows()[:1]}")
            expect(name not in (*PRICES, "volume") or not told.null_count(), f"{words}: a {name} is missing")


def _document(subject: Subject) -> Json:
    return subject.form.load(body_of(subject))


def _with_rows(subject: Subject, change: Callable[[list[Json]], list[Json]]) -> bytes:
    return subject.form.dump(with_rows(_document(subject), change))


def _first(theirs: list[int], ours: list[int]) -> str:
    odd = sorted(set(theirs) ^ set(ours))
    if not odd:
        return ", not in order or not each once"
    return f", {iso(odd[0])} {'is not true' if odd[0] in set(theirs) else 'is missing'}"


def _harmless(subject: Subject, body: bytes, words: str) -> None:
    """A changed answer is read as true bars, up to where the page says so, or is an error of the source."""
    found = answered(subject, body)
    if isinstance(found, Page):
        _same(found.frame, subject.bars(Span(subject.part.start, found.covered.end)), words)
    else:
        expect(isinstance(found, SourceError), f"{words}: {shown(found)}")


CHECKS: tuple[Check, ...] = (
    edges_are_half_open, nothing_is_claimed_beyond_the_last_bar, an_empty_answer_proves_nothing,
    pages_hold_no_more_than_they_may, a_walk_gives_the_truth_once, the_forming_bar_is_not_kept,
    the_columns_are_the_schemas, a_torn_answer_is_a_fault, order_and_repetition_do_not_matter,
    two_rows_of_one_time_that_disagree_are_a_fault, the_unit_of_times_may_change, unknown_fields_are_ignored,
    missing_fields_are_faults, another_spans_bars_are_caught, refusals_are_told_apart, the_clock_is_never_ahead,
    names_go_both_ways, a_page_has_a_price, what_it_says_of_pages_is_so, keys_are_never_told,
)  # fmt: skip
