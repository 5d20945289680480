"""What people see at the end of a run."""

from __future__ import annotations

import pytest

from gapless.cli import render


def test_one_error_of_many_series_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Who met it, the first three by name; an error that another source made good says so."""
    counts = ("read", "written", "unchanged", "corrected", "duplicate", "quarantined", "requests", "retries", "failed")
    document = {
        "run": "r", "verb": "backfill", "outcome": "complete", "seconds": 1.0, "series": [], "gaps": [],
        "totals": dict.fromkeys(counts, 0),
        "quarantined_by_reason": {},
        "errors": [{"series": f"X:{name} 1m", "error": "a is down.", "made_good_by": "b"} for name in "ABCDE"]
        + [{"series": "X:F 1m", "error": "a is down."}, {"series": "", "error": "no list."}],
    }  # fmt: skip
    render.run(document, [])
    told = " ".join(capsys.readouterr().out.split())
    assert "failed: X:A 1m, X:B 1m, X:C 1m and 2 more: a is down. (made good by b) failed: X:F 1m: a is down." in told
    assert "failed: no list." in told
