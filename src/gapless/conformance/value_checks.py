"""What every source of values at times passes. Each check's first line is the fact, as in ``checks``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import polars as pl

from gapless.bars import TS
from gapless.conformance.bench import Bench, run_all
from gapless.conformance.changes import less, micros_in, more, other_values, with_rows
from gapless.conformance.checks import expect
from gapless.conformance.subject import Asked, Json, Told, ValueSubject
from gapless.engine.value_files import received
from gapless.engine.value_tasks import ValueTask, of_source
from gapless.engine.values import ValueJob
from gapless.engine.venue import Venue
from gapless.errors import Faulty, GaplessError, Refused, SourceError, Throttled
from gapless.protocols import Counts, Http, ValueAnswer, ValuePage, ValueSource
from gapless.spans import MINUTE, SECOND, Span, SpanSet, iso
from gapless.values import AGES

ValueCheck = Callable[[ValueSubject], None]
Found = ValuePage | GaplessError
_PAGE_SIZES = (2, 3, 7, 64)
_REFUSED = {429: Throttled, 418: Throttled, 500: Faulty, 503: Faulty, 400: Refused, 403: Refused, 404: Refused}


def check_values(subject: ValueSubject) -> None:
    """All checks; AssertionError with every one that failed."""
    run_all(VALUE_CHECKS, subject)


# ---------------------------------------------------------------- what is asked is what comes


def value_edges_are_half_open(subject: ValueSubject) -> None:
    """A page of [start, end) holds the value of its start and not that of its end; a millisecond later neither."""
    first, last = subject.times[3], subject.times[9]
    for before, after in ((0, 0), (1, 0), (0, 1), (-1, 0), (0, -1), (1000, 1000), (-SECOND, SECOND)):
        span = Span(first + before, last + after)
        page = _page(subject, span)
        _same(page.frame, subject.values(Span(span.start, page.covered.end)), f"{span}")
        expect(page.frame.height > 0, f"{span}: no value came")


def a_page_tells_every_value_it_covers(subject: ValueSubject) -> None:
    """A page covers the span from its start, not beyond its end, and no value of that is missing: a short page, a
    full one, and one that is cut off by its size, whichever end the vendor keeps of a long answer."""
    for size in (*_PAGE_SIZES, None):
        page = _page(subject, subject.span, size)
        expect(page.covered.start == subject.span.start, f"pages of {size}: covered from {iso(page.covered.start)}")
        _same(page.frame, subject.values(page.covered), f"pages of {size}, covering {page.covered}")
        expect(size is None or page.frame.height <= size, f"{page.frame.height} values came on a page of {size}")


def a_walk_gives_every_value_once(subject: ValueSubject) -> None:
    """Page by page, whatever the size of a page, every value comes, none that is not true, and what is claimed at the
    end holds them all: no value is lost or twice at a seam."""
    for size in _PAGE_SIZES:
        kept, claimed = _walked(subject, size)
        _same(kept.unique(maintain_order=True), subject.truth, f"walked in pages of {size}")
        expect(kept.height == kept["ts"].n_unique(), f"walked in pages of {size}: a value came twice")
        lost = [ts for ts in subject.times if claimed.contains(ts) and ts not in set(_times(kept))]
        expect(not lost, f"walked in pages of {size}: {len(lost)} values are claimed and not there")


def where_there_is_no_value_none_comes(subject: ValueSubject) -> None:
    """Between two values a page is empty, has its columns, and claims nothing that was not asked."""
    for before, after in zip(subject.times[5:8], subject.times[6:9], strict=True):
        span = Span(before + 1000, after)
        page = _page(subject, span)
        expect(page.frame.height == 0, f"{span}: {page.frame.height} values came")
        expect(span.start == page.covered.start <= page.covered.end <= span.end, f"{span}: claims {page.covered}")


def the_columns_are_times_and_values(subject: ValueSubject) -> None:
    """``ts`` and ``value``, times in order, each once, numbers that are some."""
    frame = _page(subject, subject.part).frame
    expect(dict(frame.schema) == {"ts": TS, "value": pl.Float64()}, f"columns are {dict(frame.schema)}")
    expect(_times(frame) == sorted(set(_times(frame))), "times are not in order, each once")
    expect(bool(frame["value"].is_finite().all()), "a value is no number")


# ---------------------------------------------------------------- wrong answers


def a_torn_answer_of_values_is_a_fault(subject: ValueSubject) -> None:
    """A body that is cut off anywhere, is no answer, or has another shape is Faulty, with its beginning told."""
    body = _body(subject)
    for text in [body[: len(body) * n // 9] for n in range(1, 9)] + [body[:-1]]:
        found = _answered(subject, text)
        expect(isinstance(found, Faulty) or not subject.form.closed, f"{text[:40]!r} gave {_shown(found)}")
    for text in (b"<html>502</html>", b'"x"', b"7", b"null"):
        found = _answered(subject, text)
        expect(isinstance(found, Faulty), f"{text!r} gave {_shown(found)}")
    said = str(_answered(subject, b"<html>502</html>"))
    expect("<html>502" in said, f"the body's beginning is not told: {said}")


def rows_of_values_may_move(subject: ValueSubject) -> None:
    """Rows backwards, or twice, are the same values, or a fault."""
    for change in (lambda rows: rows[::-1], lambda rows: [*rows, rows[-1]], lambda rows: rows[:1] + rows):
        _harmless(subject, with_rows(_doc(subject), change), "rows moved")


def two_values_of_one_time_are_a_fault(subject: ValueSubject) -> None:
    """A time that comes twice with another value is never settled by chance."""
    changed = with_rows(_doc(subject), lambda rows: [*rows, other_values(subject, rows[-1])])
    _harmless(subject, changed, "a row came again with another value")


def the_unit_of_value_times_may_change(subject: ValueSubject) -> None:
    """Times in microseconds instead of milliseconds, in every row or in some, are the same values, or a fault."""
    for step in (1, 2):

        def changed(rows: list[Json], step: int = step) -> list[Json]:
            return [micros_in(subject, row) if n % step == 0 else row for n, row in enumerate(rows)]

        _harmless(subject, with_rows(_doc(subject), changed), "times in microseconds")


def unknown_fields_beside_values_are_ignored(subject: ValueSubject) -> None:
    """A field that nobody knows changes nothing."""
    page = _answered(subject, subject.form.dump(more(_doc(subject))))
    if not isinstance(page, ValuePage):
        raise AssertionError(f"an unknown field gave {_shown(page)}")
    _same(page.frame, subject.values(subject.part), "with unknown fields")


def missing_fields_beside_values_are_faults(subject: ValueSubject) -> None:
    """Without any one of its fields an answer is the same values, or a fault; never other values."""
    for doc in less(_doc(subject)):
        _harmless(subject, doc, "a field is missing")


def values_that_were_not_asked_are_caught(subject: ValueSubject) -> None:
    """The answer to another span is a fault, and so is another instrument's, where the answer tells."""
    half = len(subject.times) // 2
    early = _body(subject, Span(subject.times[0], subject.times[half - 2]))
    found = _answered(subject, early, Span(subject.times[half], subject.times[-2]))
    empty = isinstance(found, ValuePage) and not found.frame.height
    expect(isinstance(found, Faulty) or empty, f"the answer to another span gave {_shown(found)}")
    late = _body(subject, Span(subject.times[half], subject.times[-2]))
    found = _answered(subject, late, Span(subject.times[0], subject.times[half - 2]))
    expect(isinstance(found, Faulty), f"the answer to a later span gave {_shown(found)}")
    symbol = subject.instrument.symbol.encode()
    if symbol in _body(subject):
        found = _answered(subject, _body(subject).replace(symbol, b"QQ" + symbol))
        expect(isinstance(found, SourceError), f"the answer for another instrument gave {_shown(found)}")


# ---------------------------------------------------------------- refusals, limits, keys


def refusals_of_values_are_told_apart(subject: ValueSubject) -> None:
    """429 and 418 slow down, 5xx may be asked again, 4xx may not; whatever the body is."""
    _, teller = _made(subject)
    for status, kind in _REFUSED.items():
        for body in (b"", b"<html>no</html>", b'{"oops": [1, 2]}', b"[]", b"\xff\xfe"):
            error = teller.refusal(status, {}, body)
            fits = isinstance(error, kind) or (status == 418 and isinstance(error, Refused))  # most vendors have no 418
            expect(fits, f"{status} with {body!r} is {type(error).__name__}, not {kind.__name__}")
            expect(str(status) in str(error), f"{status} is not told: {error}")


def what_is_said_of_values_makes_sense(subject: ValueSubject) -> None:
    """A known kind, a path, two values a page at least, a step that its values keep to, and a reach beyond it."""
    _, teller = _made(subject)
    expect(teller.value in AGES, f"{teller.value} is no kind of values; there are {', '.join(AGES)}")
    expect(teller.path.startswith("/"), f"the path is {teller.path!r}")
    expect(teller.limits.page_bars >= 2 and teller.limits.concurrency >= 1, f"limits are {teller.limits}")
    expect(teller.every > 0 and (teller.reach is None or teller.reach > teller.every), f"reach is {teller.reach}")
    late = [ts % teller.every for ts in subject.times if ts % teller.every > MINUTE]
    expect(not late, f"values come between the multiples of {teller.every} µs, {len(late)} of them")


def keys_are_never_told_beside_values(subject: ValueSubject) -> None:
    """The key is in no address, no text of the source, and no error, even where the vendor repeats it."""
    if not subject.secret:
        return
    key, bench = subject.secret, _bench(subject)
    _run(_fetched(bench, subject, subject.part))
    for request in bench.asked:
        expect(key not in request.path + str(request.params), f"the key is in the address {request.path}")
    _, teller = _made(subject)
    told = [str(teller.refusal(status, {"X": key}, key.encode())) for status in (400, 401, 403, 429, 500)]
    told += [repr(teller), str(_answered(subject, key.encode()))]
    expect(not any(key in text for text in told), "the key is told")


# ---------------------------------------------------------------- asking


def _made(subject: ValueSubject, size: int | None = None) -> tuple[Bench, ValueSource]:
    """A bench, and the source of values beside its source."""
    bench = Bench(subject, subject.make())
    tellers = of_source(bench.source, (subject.value,))
    expect(len(tellers) == 1, f"{len(tellers)} sources tell {subject.value} beside {bench.source.name}")
    limits = tellers[0].limits
    tellers[0].limits = replace(limits, weight=0, page_bars=size or limits.page_bars)
    return bench, tellers[0]


def _bench(subject: ValueSubject, instead: Callable[[Asked], Told] | None = None) -> Bench:
    return Bench(subject, subject.make(), instead)


def _run(work: Any) -> Any:
    return asyncio.run(work)


async def _fetched(bench: Bench, subject: ValueSubject, span: Span, size: int | None = None) -> ValuePage:
    """One page, checked as the engine does at receipt."""
    (teller,) = of_source(bench.source, (subject.value,))
    teller.limits = replace(teller.limits, page_bars=size or teller.limits.page_bars)

    async def fetch(http: Http) -> ValuePage:
        return received(await teller.fetch(http, subject.instrument, span), teller, subject.instrument, span)

    return await bench.http().ask(fetch)


def _page(subject: ValueSubject, span: Span, size: int | None = None) -> ValuePage:
    page: ValuePage = _run(_fetched(_bench(subject), subject, span, size))
    return page


def _answered(subject: ValueSubject, body: bytes, span: Span | None = None) -> Found:
    """What becomes of ``body`` as the answer to ``span``: a page, or what was raised."""
    try:
        page: ValuePage = _run(_fetched(_bench(subject, lambda asked: Told(body)), subject, span or subject.part))
    except GaplessError as error:
        return error
    return page


def _body(subject: ValueSubject, span: Span | None = None) -> bytes:
    """The vendor's own answer to a page of ``span``."""
    bench = _bench(subject)
    _run(_fetched(bench, subject, span or subject.part))
    return bench.told[-1].body


def _doc(subject: ValueSubject) -> Json:
    return subject.form.load(_body(subject))


def _walked(subject: ValueSubject, size: int) -> tuple[pl.DataFrame, SpanSet]:
    """What the engine keeps of a walk over the whole truth, and what it claims."""
    kept: list[pl.DataFrame] = []
    claimed: list[Span] = []

    def keep(answer: ValueAnswer, frame: pl.DataFrame) -> Counts:
        kept.append(frame)
        claimed.extend([answer.answered] if answer.answered else [])
        return Counts(frame.height)

    async def walk() -> list[str]:
        bench, teller = _made(subject, size)
        job = ValueJob(Venue(bench.http(attempts=1)), keep, "conformance")
        await job.work([ValueTask(teller, subject.instrument, subject.span)])
        return [error for outcome in job.outcomes.values() for error in outcome.errors]

    errors = _run(walk())
    expect(not errors, f"walked in pages of {size}: {errors[:1]}")
    return pl.concat(kept), SpanSet.of(*claimed)


# ---------------------------------------------------------------- comparing


def _times(frame: pl.DataFrame) -> list[int]:
    return [int(ts) for ts in frame.get_column("ts").to_physical()]


def _same(frame: pl.DataFrame, truth: pl.DataFrame, words: str) -> None:
    """The same times, and the same values."""
    theirs, ours = _times(frame), _times(truth)
    odd = sorted(set(theirs) ^ set(ours))
    told = f", {iso(odd[0])} {'is not true' if odd[0] in set(theirs) else 'is missing'}" if odd else ""
    expect(theirs == ours, f"{words}: {len(theirs)} values came, {len(ours)} are true{told}")
    wrong = frame.with_columns(truth["value"].alias("true")).filter(pl.col("value").ne_missing(pl.col("true")))
    expect(not wrong.height, f"{words}: a value came as {wrong.rows()[:1]}")


def _harmless(subject: ValueSubject, doc: Json, words: str) -> None:
    """A changed answer is read as true values, up to where the page says so, or is an error of the source."""
    found = _answered(subject, subject.form.dump(doc))
    if isinstance(found, ValuePage):
        _same(found.frame, subject.values(Span(subject.part.start, found.covered.end)), words)
    else:
        expect(isinstance(found, SourceError), f"{words}: {_shown(found)}")


def _shown(found: object) -> str:
    return f"{found.frame.height} values" if isinstance(found, ValuePage) else f"{type(found).__name__}: {found}"


VALUE_CHECKS: tuple[ValueCheck, ...] = (
    value_edges_are_half_open, a_page_tells_every_value_it_covers, a_walk_gives_every_value_once,
    where_there_is_no_value_none_comes, the_columns_are_times_and_values, a_torn_answer_of_values_is_a_fault,
    rows_of_values_may_move, two_values_of_one_time_are_a_fault, the_unit_of_value_times_may_change,
    unknown_fields_beside_values_are_ignored, missing_fields_beside_values_are_faults,
    values_that_were_not_asked_are_caught, refusals_of_values_are_told_apart, what_is_said_of_values_makes_sense,
    keys_are_never_told_beside_values,
)  # fmt: skip
