"""Channels from gapless.toml, their texts, and messages."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.alerts.alert import Alert
from gapless.alerts.throttle import Throttle
from gapless.config import load, parse
from gapless.errors import ConfigError
from gapless.notify.channel import Address, Channel
from gapless.notify.message import (
    ALERT_FIELDS,
    KINDS,
    Message,
    degraded,
    fired,
    position,
    probe,
    recovered,
    report,
    withdrawn,
)
from gapless.notify.notice import notice
from gapless.notify.outbox import LONGEST, deliveries
from gapless.notify.pace import Pace
from gapless.notify.template import render
from gapless.spans import MINUTE, SECOND

SECRET = "tgram://123456789:AAF-tok3n/chat"
ALERT = Alert("spike", "BINANCE:BTCUSDT", "1m", 0, "fired", "up", "critical", "CONFIRMED", {"z_er_15m": 3.25})


def test_a_section_becomes_a_channel():
    """Every key of [notify.NAME] arrives in the channel, durations as µs."""
    found = parse({
        "notify": {"ops": {
            "url": "json://host/path", "title": "{rule}", "template": "{instrument} {evidence}", "least": "warning",
            "kinds": ["fired", "closed"], "rate": "5 per 10s", "attempts": 3, "backoff": "1s", "timeout": "4s",
        }}
    }).channels()["ops"]  # fmt: skip
    assert found == Channel(
        "ops", Address("json://host/path"), "{rule}", "{instrument} {evidence}", "warning", ("fired", "closed"),
        Throttle(5, 10 * SECOND), 3, SECOND, 4 * SECOND,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({}, "notify.ops.url: Field required"),
        ({"url": "AAF-tok3n"}, "neither an apprise URL"),
        ({"url": "env:"}, "neither an apprise URL"),
        ({"template": "{evidense}"}, "did you mean 'evidence'?"),
        ({"template": "{ts:%H}"}, "takes no format"),
        ({"template": "{rule.__class__}"}, "unknown field 'rule.__class__'"),
        ({"title": "{"}, "is no template"),
        ({"title": "{}"}, "unknown field ''"),
        ({"title": "x", "kinds": ["report"]}, "which kinds leaves out"),
        ({"least": "high"}, "'info', 'warning' or 'critical'"),
        ({"kinds": ["fire"]}, "notify.ops.kinds.0"),
        ({"rate": "0 per 1m"}, "is not a throttle"),
        ({"rate": "20"}, "is not a throttle"),
        ({"rate": "20 per soon"}, "is not a duration"),
        ({"backoff": "0s"}, "is not between"),
        ({"timeout": "10m"}, "is not between"),
        ({"attempts": 0}, "notify.ops.attempts"),
        ({"retries": 3}, "unknown key"),
    ],
)
def test_a_mistake_is_told_with_its_path_and_without_the_address(section, said):
    """Every mistake in a channel ends the reading of the file, says where it is, and shows no address."""
    address = {} if section == {} else {"url": SECRET}
    with pytest.raises(ConfigError) as caught:
        parse({"notify": {"ops": {**address, **section}}})
    assert said in str(caught.value)
    assert "notify.ops" in str(caught.value)
    assert "tok3n" not in str(caught.value)


def test_an_address_is_never_shown(tmp_path):
    """Not by the configuration's or the channel's repr, text, JSON, format or traceback of a broken file."""
    path = tmp_path / "gapless.toml"
    path.write_text(f'[notify.ops]\nurl = "{SECRET}"\n')
    found = load(path)
    channel = found.channels()["ops"]
    shown = f"{found!r} {found} {found.model_dump_json()} {channel!r} {channel} {channel.address} {channel.address!r}"
    assert "tok3n" not in shown
    assert "123456789" not in shown
    assert str(channel.address) == "tgram://…"
    path.write_text(f'[notify.ops]\nurl = "{SECRET}\n')
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert "tok3n" not in str(caught.value)


def test_an_address_may_be_in_the_environment(monkeypatch):
    """It is read when it is needed; until then the variable's name stands for it, and its absence is an error."""
    address = Address("env:GAPLESS_TEST_URL")
    monkeypatch.delenv("GAPLESS_TEST_URL", raising=False)
    with pytest.raises(ConfigError, match="GAPLESS_TEST_URL is not set"):
        address.reveal()
    monkeypatch.setenv("GAPLESS_TEST_URL", "tok3n")
    with pytest.raises(ConfigError, match="holds no URL") as caught:
        address.reveal()
    assert "tok3n" not in str(caught.value)
    monkeypatch.setenv("GAPLESS_TEST_URL", SECRET)
    assert (address.reveal(), str(address)) == (SECRET, "env:GAPLESS_TEST_URL")


def test_a_channel_gets_what_it_wants():
    """Less severe messages than `least`, and kinds that are not listed, make no delivery."""
    every = Channel("every", Address("json://a"))
    grave = Channel("grave", Address("json://a"), least="critical")
    daily = Channel("daily", Address("json://a"), kinds=("report",))
    said = [fired(ALERT), degraded("feed", 0, "silence"), report("2025-05-01", "quiet", {})]
    got = [[d.channel for d in deliveries(m, [every, grave, daily], 0)] for m in said]
    assert got == [["every", "grave"], ["every", "grave"], ["every", "daily"]]


def test_a_message_survives_the_outbox():
    """Its JSON reads back as the same message; its deliveries' ids are its own id and the channel's name."""
    channel = Channel("ops", Address("json://a"))
    for message in (fired(ALERT), withdrawn(fired(ALERT), "corrected"), recovered("feed", 0, SECOND)):
        (made,) = deliveries(message, [channel], 5)
        assert Message.from_json(made.payload) == message
        assert (made.id, made.made_at, made.subject) == (f"{message.id}@ops", 5, message.subject)


def test_the_same_event_has_the_same_id_and_others_have_others():
    """Worked out again, in whatever process, a message is the same; no two events share an id."""

    def made() -> list[Message]:
        event = {"position": "p", "number": 1, "instrument": "X:A", "ts": "", "kind": "opened", "price": 1.0,
                 "fraction": 1.0, "reason": "", "data": {}}  # fmt: skip
        return [
            fired(ALERT), withdrawn(fired(ALERT), ""), position(event), withdrawn(position(event), ""),
            position({**event, "number": 2, "kind": "partial"}),
            degraded("feed", 0, "x"), degraded("feed", 1, "x"), recovered("feed", 0, 1), report("2025-05-01", "", {}),
        ]  # fmt: skip

    ids = [m.id for m in made()]
    assert ids == [m.id for m in made()]
    assert len(set(ids)) == len(ids)


def test_an_alert_in_the_channels_own_words():
    """Title and template are filled with the alert's fields; a report keeps its own words."""
    channel = Channel(
        "ops", Address("json://a"), "{severity} {rule}", "{instrument} {direction} {{{evidence}}} {level}"
    )
    found = notice(channel, deliveries(fired(ALERT), [channel], 0))
    assert found.title == "critical spike"
    assert found.body == f"BINANCE:BTCUSDT up {{z_er_15m 3.25}} CONFIRMED\n#{ALERT.id[:8]}"
    back = notice(channel, deliveries(withdrawn(fired(ALERT), "corrected"), [channel], 0))
    assert (back.title, back.body.split(" ")[0]) == ("withdrawn: critical spike", "withdrawn:")
    other = notice(channel, deliveries(report("2025-05-01", "3 alerts", {}), [channel], 0))
    assert (other.title, other.body.split("\n")[0]) == ("gapless report 2025-05-01", "3 alerts")


def test_a_spread_names_its_members():
    """The message of an alert that spread through a group says who followed."""
    spread = Alert("spike", "X:A", "1m", 0, "spread", "up", members=("X:A", "X:B"))
    assert fired(spread).text == "spike up spread from X:A, 1m bar of 1970-01-01T00:00:00Z. with X:A, X:B"
    assert fired(spread).subject == "warning: spike spread X:A"


def test_a_number_that_is_not_one_still_makes_json():
    """Evidence that is missing (NaN) goes out as null: a webhook's reader need not know NaN."""
    alert = Alert("spike", "X:A", "1m", 0, evidence={"z": float("nan"), "r": float("inf"), "v": 2.0})
    sent = notice(
        Channel("ops", Address("json://a")), deliveries(fired(alert), [Channel("ops", Address("json://a"))], 0)
    )
    read = json.loads(json.dumps(sent.data, allow_nan=False))
    assert read["data"]["evidence"] == {"z": None, "r": None, "v": 2.0}
    assert "z missing" in sent.body


@given(st.text())
def test_braces_written_twice_stand_for_themselves(text):
    """Any text with its braces doubled renders as itself."""
    assert render(text.replace("{", "{{").replace("}", "}}"), {}) == text


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 30 * SECOND), st.booleans()), max_size=80),
)
def test_a_rate_is_never_exceeded(count, steps):
    """However messages come and fail, no window holds more than its count, and no wait is longer than the longest."""
    pace, now, used = Pace(Throttle(count, MINUTE), SECOND), 0, []
    for step, fails in steps:
        now += step
        if pace.room(now):
            pace.use(now)
            used.append(now)
            pace.failed(now) if fails else pace.succeeded()
    for at in used:
        assert sum(at - MINUTE < other <= at for other in used) <= count
    assert pace.room(now + LONGEST + MINUTE) == count


def test_waits_double_up_to_the_longest():
    """Two, four, eight seconds … and never more than five minutes."""
    pace = Pace(Throttle(1, MINUTE), 2 * SECOND)
    assert [pace.wait(n) // SECOND for n in (1, 2, 3, 7, 8, 9, 1000)] == [2, 4, 8, 128, 256, 300, 300]


def test_the_page_about_telling_is_right():
    """Its example is a configuration; its kinds and fields are all there are; the severities are the messages'."""
    page = (Path(__file__).parents[2] / "docs" / "notify.md").read_text(encoding="utf-8")
    for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL):
        assert parse(tomllib.loads(block)).channels()
    told = dict(re.findall(r"^\| `(\w+)` \| (the alert's|info|warning|critical) \|", page, re.MULTILINE))
    assert tuple(told) == KINDS
    said = [degraded("feed", 0, ""), recovered("feed", 0, 0), report("2025-05-01", "", {}), probe(0)]
    assert all(told[m.kind] == m.severity for m in said)
    sentence = page.partition("They take these fields")[2].partition("A field that does not exist")[0]
    assert tuple(re.findall(r"`{(\w+)}`", sentence)) == ALERT_FIELDS
