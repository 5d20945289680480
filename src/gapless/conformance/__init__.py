"""Is it a source? The checks that every source passes, for the tests of packages that bring their own.

    import pytest
    from gapless.conformance import CHECKS, Asked, Subject, Told, made_bars

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_my_source(check):
        check(Subject(make=my_source, answer=my_vendor, series=SERIES, truth=BARS, now=NOW))

``my_vendor`` is the vendor as far as the source asks: a function from a request to the bytes that the vendor would
answer, made of ``BARS``. From these answers the checks make wrong ones: cut off, turned round, doubled, with fields
left out or added, in another unit, for another span. A source must read the same bars, or raise; it must never read
other bars. No socket is opened and nobody waits; pages are fetched and walked by the engine itself.
``VALUE_CHECKS`` and ``ValueSubject`` are the same for sources of values at times (funding rates, open interest).
"""

from __future__ import annotations

from gapless.conformance.checks import CHECKS, check_source
from gapless.conformance.subject import CSV, JSON, Asked, Form, Subject, Told, ValueSubject, made_bars
from gapless.conformance.value_checks import VALUE_CHECKS, check_values

__all__ = [
    "CHECKS", "CSV", "JSON", "VALUE_CHECKS", "Asked", "Form", "Subject", "Told", "ValueSubject", "check_source",
    "check_values", "made_bars",
]  # fmt: skip
