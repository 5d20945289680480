"""The journal: what was decided stands until another decision takes its place, and is never lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from gapless.errors import LakeDamaged
from gapless.notify.outbox import Delivery
from gapless.spans import DAY, MINUTE, Timeframe
from gapless.stores.journal import Entry, Journal

M1 = Timeframe.parse("1m")


def entry(key: str, ts: int, **body: object) -> Entry:
    return Entry("alert", "1m", key, ts, body)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "live.sqlite")


def test_deciding_the_same_again_changes_nothing(journal: Journal) -> None:
    """A restart decides the last minutes again: nothing is added, nothing withdrawn."""
    first = journal.decide(M1, 0, 0, [entry("a", 0, x=1.5)], now=5)
    again = journal.decide(M1, 0, 0, [entry("a", 0, x=1.5)], now=9)
    assert (len(first.added), again.added, again.withdrawn) == (1, (), ())
    assert [e["x"] for e in journal.entries("alert")] == [1.5]


def test_another_decision_withdraws_and_adds(journal: Journal) -> None:
    """After a correction the old decision is withdrawn, not erased; the new one stands."""
    journal.decide(M1, 0, MINUTE, [entry("a", 0, x=1), entry("b", MINUTE, x=2)], now=5)
    changes = journal.decide(M1, 0, MINUTE, [entry("a", 0, x=7)], now=9)
    assert [e.body for e in changes.added] == [{"x": 7}]
    assert sorted(e.key for e in changes.withdrawn) == ["a", "b"]
    assert [e["x"] for e in journal.entries("alert")] == [7]
    assert [(e["x"], e["withdrawn_at"]) for e in journal.entries("alert", withdrawn=True)] == [
        (1, 9),
        (7, None),
        (2, 9),
    ]


def test_only_the_times_decided_are_touched(journal: Journal) -> None:
    """What was decided of other bar times stays."""
    journal.decide(M1, 0, 0, [entry("a", 0)], now=1)
    journal.decide(M1, MINUTE, MINUTE, [], now=2)
    assert len(journal.entries("alert")) == 1


def test_feature_rows_are_replaced_by_time(journal: Journal) -> None:
    """Feature rows of a bar time that is decided again take the place of the old ones; a damaged one is told."""
    row = pl.DataFrame({"instrument": ["X:A"], "v": [1.0]})
    journal.decide(M1, 0, 0, [], now=1, moments=[("set", 0, row)])
    journal.decide(M1, 0, 0, [], now=2, moments=[("set", 0, row.with_columns(v=2.0))])
    found = journal.moments("set", M1)
    assert found is not None
    assert found["v"].to_list() == [2.0]
    with journal.database.transaction() as db:
        db.execute("UPDATE moment SET body=?", (b"x",))
    with pytest.raises(LakeDamaged, match="differ from their checksum"):
        journal.moments("set", M1)


def test_checkpoints_thin_out(journal: Journal) -> None:
    """The newest three stay, and the first one of each of the last days; a damaged one is as good as none."""
    for hour in range(100):
        journal.keep("1m", hour * 60 * MINUTE, b"%d" % hour, now=0, newest=3, days=2)
    hours = [ts // (60 * MINUTE) for ts, _, _ in journal.checkpoints("1m")]
    assert hours == [99, 98, 97, 96, 72]
    assert journal.checkpoint("1m", 3 * DAY) == b"72"
    with journal.database.transaction() as db:
        db.execute("UPDATE checkpoint SET body=?", (b"x",))
    assert journal.checkpoint("1m", 3 * DAY) is None


def test_letters_are_kept_once_with_the_decision(tmp_path: Path) -> None:
    """What is to be sent is durable with what it tells of; said again, it is no second letter; newest are told last."""
    made = [Delivery(f"{n}@ops", "ops", "fired", f"alert {n}", "{}", n) for n in range(3)]
    journal = Journal(tmp_path / "live.sqlite", teller=lambda changes: made[: len(changes.added)])
    journal.decide(M1, 0, 0, [entry("a", 0), entry("b", 0)], now=5)
    journal.put(made)
    journal.mark([replace(made[0], state="sent", attempts=1)])
    assert journal.sent() == {"queued": 2, "sent": 1}
    assert [letter["subject"] for letter in journal.told("ops", 2)] == ["alert 1", "alert 2"]
    assert journal.told("other", 9) == []


def test_facts_are_kept(journal: Journal) -> None:
    """Small facts survive the process."""
    journal.remember({"since": 5, "rules": ["a"]})
    assert (journal.fact("since"), journal.fact("rules"), journal.fact("other")) == (5, ["a"], None)
