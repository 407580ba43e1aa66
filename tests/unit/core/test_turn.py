"""Timers, the outbox of a step, and how long others are waited for."""

import pytest

from falak.core.delays import Delays
from falak.core.effects import Gossip, Note, Send
from falak.core.turn import Timers, Turn
from falak.core.wire import Ping


def due(timers: Timers, now: float) -> list[str]:
    found = []
    while (key := timers.pop_due(now)) is not None:
        found.append(key[0])
    return found


def test_timers_come_by_time_then_in_the_order_of_their_setting() -> None:
    timers = Timers()
    for name, at in (("b", 2.0), ("late", 3.0), ("a", 2.0), ("first", 1.0)):
        timers.set((name,), at)
    assert timers.next_at() == 1.0
    assert due(timers, 0.5) == []
    assert due(timers, 2.0) == ["first", "b", "a"]
    assert due(timers, 9.0) == ["late"] and timers.next_at() is None


def test_setting_again_replaces() -> None:
    timers = Timers()
    timers.set(("a",), 1.0)
    timers.set(("a",), 5.0)
    assert due(timers, 2.0) == [] and timers.has(("a",))
    timers.set(("a",), 3.0)
    assert timers.next_at() == 3.0 and len(timers) == 1
    assert due(timers, 9.0) == ["a"]


def test_cancelled_timers_are_not_due() -> None:
    timers = Timers()
    timers.set(("a",), 1.0)
    timers.cancel(("a",))
    timers.cancel(("never set",))
    assert not timers.has(("a",)) and timers.next_at() is None and due(timers, 9.0) == []


def test_timers_that_are_set_again_and_again_take_no_room() -> None:
    timers = Timers()
    for i in range(10_000):
        timers.set(("often",), 100.0 + i)
        timers.set((f"once {i % 10}",), 50.0)
    assert len(timers) == 11 and timers.room() <= 4 * len(timers) + 64


def test_a_message_to_oneself_is_kept_for_the_step_and_shown_to_a_trace() -> None:
    turn = Turn("me", 1)
    turn.send("other", Ping(1))
    turn.send("me", Ping(2))
    turn.gossip("topic", Ping(3))
    turn.note("event", "cause", node="n1")
    assert turn.effects == [
        Send("other", Ping(1)),
        Gossip("topic", Ping(3)),
        Note("event", "cause", (("node", "n1"),)),
    ]
    assert list(turn.inbox) == [Ping(2)] and list(turn.own) == [(1, Ping(2))]


def test_causes_are_16_hex_digits_and_reproducible() -> None:
    one, other = Turn("me", 1), Turn("me", 1)
    causes = [one.cause() for _ in range(3)]
    assert causes == [other.cause() for _ in range(3)]
    assert len(set(causes)) == 3 and all(len(c) == 16 and int(c, 16) >= 0 for c in causes)


def test_patience_is_smoothed_after_rfc_6298() -> None:
    delays = Delays()
    assert delays.patience("ask") == 0.0
    delays.sample("ask", 0.1)
    assert delays.patience("ask") == pytest.approx(0.1 + 4 * 0.05)
    for _ in range(200):
        delays.sample("ask", 0.1)
    assert delays.patience("ask") == pytest.approx(0.1, rel=0.01)
    delays.sample("ask", 0.5)
    assert delays.patience("ask") > 0.4
    assert delays.patience("look") == 0.0
