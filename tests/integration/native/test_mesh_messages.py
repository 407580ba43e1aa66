"""Messages: order, size, and the exact count of what was not delivered."""

import signal

import pytest

from falak import _native as native

from .conftest import SETTINGS, MakeNode, MakePeer, Node

MIB = 1 << 20


def number(n: int, size: int = 8) -> bytes:
    return n.to_bytes(8, "big").ljust(size, b".")


def received(node: Node, count: int) -> list[int]:
    return [int.from_bytes(node.wait(native.MESSAGE)[1][:8], "big") for _ in range(count)]


def test_frames_come_in_order_both_ways(pair: tuple[Node, Node]) -> None:
    one, two = pair
    for n in range(900):
        one.mesh.send(two.id, number(n, 8 + n * 7 % 5000))
        two.mesh.send(one.id, number(n))
    assert received(two, 900) == received(one, 900) == list(range(900))
    assert one.mesh.counters()["frames_out"] == two.mesh.counters()["frames_in"] == 900


def test_the_smallest_and_the_largest_frame(pair: tuple[Node, Node]) -> None:
    one, two = pair
    for data in (b"", b"x" * MIB, b"end"):
        one.mesh.send(two.id, data)
    assert [two.wait(native.MESSAGE) for _ in range(3)] == [
        (one.id, b""),
        (one.id, b"x" * MIB),
        (one.id, b"end"),
    ]
    with pytest.raises(ValueError, match="message_max_bytes"):
        one.mesh.send(two.id, bytes(MIB + 1))


def test_nobody_connected_is_undelivered_at_once(make_node: MakeNode) -> None:
    one = make_node()
    stranger = native.peer_id(bytes(32))
    one.mesh.send(stranger, b"x")
    assert one.wait(native.UNDELIVERED) == (stranger, 1, "not connected")
    with pytest.raises(ValueError, match="no PeerId"):
        one.mesh.send("somebody", b"x")


def test_a_killed_peer(make_node: MakeNode, make_peer: MakePeer) -> None:
    one, peer = make_node(), make_peer()
    peer.link(one)
    one.mesh.send(peer.id, b"ping")
    assert one.wait(native.MESSAGE) == (peer.id, b"ping")
    peer.signal(signal.SIGKILL)
    one.wait(native.LINK_DOWN, peer.id, within_s=1.0)
    one.mesh.send(peer.id, b"ping")
    assert one.wait(native.UNDELIVERED) == (peer.id, 1, "not connected")


def undelivered(node: Node, peer: str, frames: int) -> None:
    """Wait until so many frames in all were told of as undelivered; more is an error."""
    told = 0
    while told < frames:
        told += node.wait(native.UNDELIVERED, peer)[1]
    assert told == frames


def test_a_peer_that_takes_nothing_loses_the_rest_exactly(make_node: MakeNode) -> None:
    one = make_node(settings={"message_write_ms": 300})
    two = make_node(capacity=4)  # not drained: it stops reading after four events
    one.dial(two)
    for n in range(200):
        one.mesh.send(two.id, number(n, 4096))
    lost = 0
    while one.mesh.counters()["frames_out"] + lost < 200:
        lost += one.wait(native.UNDELIVERED, two.id)[1]
    assert lost > 0
    one.mesh.send(two.id, number(999))  # on a new stream, and yet after all that the old one still holds
    assert received(two, 201 - lost) == [*range(200 - lost), 999]


def test_a_stopped_peer_takes_no_longer_than_the_deadline(make_node: MakeNode, make_peer: MakePeer) -> None:
    one, peer = make_node(settings={"message_write_ms": 300}), make_peer()
    peer.link(one)
    peer.signal(signal.SIGSTOP)
    for n in range(16):
        one.mesh.send(peer.id, number(n, MIB - 8))
    assert "took no frame for 300 ms" in one.wait(native.UNDELIVERED, peer.id, within_s=3.0)[2]


def test_a_stopped_peer_can_be_disconnected(make_node: MakeNode, make_peer: MakePeer) -> None:
    """Even when the socket's buffer is full, so that not even a goodbye can be written."""
    one, peer = make_node(), make_peer()
    peer.link(one)
    peer.signal(signal.SIGSTOP)
    for token in range(SETTINGS["ask_concurrent"]):
        one.mesh.ask(token, peer.id, bytes(MIB), 300)
    one.wait(native.ANSWERED, SETTINGS["ask_concurrent"] - 1, False)
    one.mesh.disconnect(peer.id)
    one.wait(native.LINK_DOWN, peer.id, within_s=2.5)


def test_a_full_queue_is_told_of_and_the_rest_arrives(make_node: MakeNode) -> None:
    one = make_node(settings={"message_queue_frames": 4, "message_write_ms": 60_000})
    two = make_node(capacity=1)
    one.dial(two)
    for n in range(60):
        one.mesh.send(two.id, number(n, MIB // 2))
    for _ in range(40):  # one window, the socket's buffers and four frames fit, not more
        assert one.wait(native.UNDELIVERED) == (two.id, 1, "4 frames wait to be sent already")
    one.pump(0)
    lost = 40 + sum(event[0] == native.UNDELIVERED for event in one.waiting)
    arrived = received(two, 60 - lost)
    assert arrived == sorted(arrived) and arrived[:4] == [0, 1, 2, 3]
    assert two.none_of(native.MESSAGE, 0.05)


def test_a_queue_is_bounded_in_bytes_too(make_node: MakeNode) -> None:
    one = make_node(settings={"message_write_ms": 60_000})
    two = make_node(capacity=1)
    one.dial(two)
    for n in range(40):
        one.mesh.send(two.id, number(n, MIB))
    assert "bytes wait to be sent already" in one.wait(native.UNDELIVERED, two.id)[2]


def test_messages_survive_a_second_connection(make_node: MakeNode) -> None:
    one, two = make_node(), make_node()
    one.dial(two)
    one.mesh.send(two.id, number(0))
    assert received(two, 1) == [0]
    two.mesh.dial(9, one.address)
    two.wait(native.DIALED, 9)
    for n in range(1, 100):
        one.mesh.send(two.id, number(n))
    assert received(two, 99) == list(range(1, 100))


def test_the_queue_holds_what_readers_wait_with(make_node: MakeNode) -> None:
    """Backpressure reaches the sender, and nothing is lost when there is room again."""
    one, two = make_node(settings={"message_write_ms": 10_000}), make_node(capacity=8)
    one.dial(two)
    for n in range(SETTINGS["message_queue_frames"]):
        one.mesh.send(two.id, number(n, 4096))
    two.count_until("frames_in", 9, pump=False)
    assert one.none_of(native.UNDELIVERED, 0.1)
    counters = two.events.counters()
    assert counters["queued"] == 8 and two.mesh.counters()["frames_in"] == 9
    assert received(two, 1024) == list(range(1024))
    assert one.none_of(native.UNDELIVERED, 0)
