"""Asks: one answer each, by a deadline, within limits of size and number."""

import signal
import time

import pytest

from falak import _native as native

from .conftest import SETTINGS, MakeNode, MakePeer, Node

MIB = 1 << 20


def test_an_ask_is_answered(pair: tuple[Node, Node]) -> None:
    one, two = pair
    one.mesh.ask(5, two.id, b"who?", 3000)
    ask, peer, data = two.wait(native.ASKED)
    assert (peer, data) == (one.id, b"who?")
    two.mesh.answer(ask, b"me")
    assert one.wait(native.ANSWERED) == (5, True, b"me")
    assert two.mesh.counters()["asks_in"] == one.mesh.counters()["asks_out"] == 1


def test_many_at_once_are_all_answered(make_node: MakeNode, make_peer: MakePeer) -> None:
    one, peer = make_node(), make_peer()
    peer.link(one)
    for start in range(0, 20 * 64, 64):
        for n in range(start, start + 64):
            one.mesh.ask(n, peer.id, b"%d" % n, 3000)
        answers = {one.wait(native.ANSWERED) for _ in range(64)}
        assert answers == {(n, True, b"%d" % n) for n in range(start, start + 64)}


def test_no_answer_ends_at_the_deadline(pair: tuple[Node, Node]) -> None:
    one, two = pair
    started = time.monotonic()
    assert one.ask(two.id, b"?", deadline_ms=200) == (False, "no answer within 200 ms")
    assert 0.2 <= time.monotonic() - started < 10
    two.mesh.answer(two.wait(native.ASKED)[0], b"too late")  # ignored
    assert one.none_of(native.ANSWERED, 0.05)


def test_a_stopped_peer_is_a_deadline_missed(make_node: MakeNode, make_peer: MakePeer) -> None:
    one, peer = make_node(), make_peer()
    peer.link(one)
    peer.signal(signal.SIGSTOP)
    assert one.ask(peer.id, b"?", deadline_ms=200) == (False, "no answer within 200 ms")


def test_nobody_connected_is_no_answer_at_once(make_node: MakeNode) -> None:
    assert make_node().ask(native.peer_id(bytes(32)), b"?") == (False, "not connected")


def test_a_link_that_ends_ends_its_asks(pair: tuple[Node, Node]) -> None:
    one, two = pair
    one.mesh.ask(1, two.id, b"?", 60_000)
    two.wait(native.ASKED)
    two.mesh.close()
    token, ok, why = one.wait(native.ANSWERED)
    assert (token, ok) == (1, False) and why


def test_limits_of_size(pair: tuple[Node, Node]) -> None:
    one, two = pair
    one.mesh.ask(1, two.id, b"q" * MIB, 3000)
    assert two.answer_next(b"a" * MIB) == b"q" * MIB
    assert one.wait(native.ANSWERED) == (1, True, b"a" * MIB)
    with pytest.raises(ValueError, match="message_max_bytes"):
        one.mesh.ask(2, two.id, bytes(MIB + 1), 3000)
    with pytest.raises(ValueError, match="message_max_bytes"):
        two.mesh.answer(1, bytes(MIB + 1))


def test_frames_above_the_other_sides_limit_are_peer_errors(make_node: MakeNode) -> None:
    one, two = make_node(), make_node(settings={"message_max_bytes": 100})
    one.dial(two)
    assert one.ask(two.id, bytes(101))[0] is False
    two.count_until("peer_errors", 1)
    one.mesh.send(two.id, bytes(101))
    two.count_until("peer_errors", 2)
    one.mesh.ask(9, two.id, b"fits", 3000)
    two.answer_next(b"fine")
    assert one.wait(native.ANSWERED, 9) == (9, True, b"fine")
    two.mesh.ask(9, one.id, b"?", 3000)
    one.answer_next(bytes(101))
    _, ok, why = two.wait(native.ANSWERED, 9)
    assert not ok and "101 bytes, more than 100" in why
    two.count_until("peer_errors", 3)


def test_limits_of_number_out(make_node: MakeNode) -> None:
    one, two = make_node(settings={"ask_concurrent": 3}), make_node()
    one.dial(two)
    for token in range(4):
        one.mesh.ask(token, two.id, b"?", 3000)
    assert one.wait(native.ANSWERED) == (3, False, "3 asks to this peer are in flight already")
    for _ in range(3):
        two.answer_next(b"!")
    assert {one.wait(native.ANSWERED)[0] for _ in range(3)} == {0, 1, 2}
    one.mesh.ask(5, two.id, b"?", 3000)
    two.answer_next(b"!")
    one.wait(native.ANSWERED, 5, True)


def test_limits_of_number_in(make_node: MakeNode) -> None:
    one, two = make_node(), make_node(settings={"ask_concurrent": 2})
    one.dial(two)
    for token in range(10):  # twice two are taken, six are reset
        one.mesh.ask(token, two.id, b"?", 3000)
    two.count_until("peer_errors", 6)
    refused = {one.wait(native.ANSWERED)[0] for _ in range(6)}
    for _ in range(4):
        two.answer_next(b"!")
    answered = {one.wait(native.ANSWERED)[0] for _ in range(4)}
    assert refused | answered == set(range(10))


def test_an_asker_that_left_frees_its_place(make_node: MakeNode) -> None:
    one, two = make_node(), make_node(settings={"ask_concurrent": 1})
    one.dial(two)
    for _ in range(5):
        assert one.ask(two.id, b"?", deadline_ms=60)[0] is False
    assert two.mesh.counters()["asks_in"] == 5
    assert two.mesh.counters()["peer_errors"] == 0


def test_a_full_queue_of_events_delays_asks_and_loses_none(make_node: MakeNode) -> None:
    one, two = make_node(), make_node(capacity=2)
    one.dial(two)
    for token in range(SETTINGS["ask_concurrent"]):
        one.mesh.ask(token, two.id, b"?", 5000)
    for _ in range(SETTINGS["ask_concurrent"]):
        two.answer_next(b"!")
    assert all(one.wait(native.ANSWERED)[1] for _ in range(SETTINGS["ask_concurrent"]))


def test_unknown_numbers_are_ignored(make_node: MakeNode) -> None:
    make_node().mesh.answer(12345, b"nobody asked")
