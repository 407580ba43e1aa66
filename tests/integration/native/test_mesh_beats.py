"""Beats: a peer whose loop is stuck falls silent, and comes back; nobody is disconnected for it."""

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from falak import _native as native

from .conftest import SETTINGS, MakeNode, MakePeer, Node

SILENT_S = SETTINGS["beat_silent_ms"] / 1000
STALE_S = SETTINGS["beat_stale_ms"] / 1000


class Loop:
    """Touches the queues of nodes as their loops would, until one is stuck."""

    def __init__(self) -> None:
        self.moving: set[Node] = set()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.ended.wait(0.02):
            for node in list(self.moving):
                node.events.touch()


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.ended.set()
    loop.thread.join()


def test_a_stuck_loop_is_silent_and_comes_back(pair: tuple[Node, Node], loop: Loop) -> None:
    one, two = pair
    loop.moving |= {one, two}
    one.mesh.beat(two.id, True)
    one.count_until("beats_in", 3)
    assert one.none_of(native.PEER_SILENT, SILENT_S)
    loop.moving.discard(two)
    stuck = time.monotonic()
    peer, silence_ms = one.wait(native.PEER_SILENT)
    took = time.monotonic() - stuck
    assert peer == two.id and SETTINGS["beat_silent_ms"] <= silence_ms < SETTINGS["beat_silent_ms"] + 150
    assert SILENT_S - 0.1 <= took < SILENT_S + STALE_S + 5
    assert one.none_of(native.PEER_SILENT, SILENT_S), "told once"
    loop.moving.add(two)
    assert one.wait(native.PEER_BACK) == (two.id,)
    assert one.mesh.counters()["connections"] == 1
    assert one.none_of(native.LINK_DOWN, 0)


def test_a_loop_that_never_moved_sends_nothing(pair: tuple[Node, Node], loop: Loop) -> None:
    one, two = pair
    loop.moving.add(one)
    one.pump(STALE_S)  # what the start counts as a touch is over
    one.mesh.beat(two.id, True)
    assert one.wait(native.PEER_SILENT, two.id)
    assert one.mesh.counters()["beats_out"] > 0


def test_the_watched_side_needs_no_wish_of_its_own(pair: tuple[Node, Node], loop: Loop) -> None:
    one, two = pair
    loop.moving |= {one, two}
    one.mesh.beat(two.id, True)
    one.count_until("beats_in", 5)
    two.count_until("beats_in", 5)
    loop.moving.discard(one)
    assert two.none_of(native.PEER_SILENT, SILENT_S + STALE_S), "two watches nobody"


def test_both_sides_watch(pair: tuple[Node, Node], loop: Loop) -> None:
    one, two = pair
    loop.moving |= {one, two}
    one.mesh.beat(two.id, True)
    two.mesh.beat(one.id, True)
    one.count_until("beats_in", 5)
    loop.moving.discard(one)
    assert two.wait(native.PEER_SILENT)[0] == one.id
    assert one.none_of(native.PEER_SILENT, 0)


def test_a_stopped_process(make_node: MakeNode, make_peer: MakePeer, loop: Loop) -> None:
    one, peer = make_node(), make_peer()
    peer.link(one)
    loop.moving.add(one)
    one.mesh.beat(peer.id, True)
    one.count_until("beats_in", 3)
    peer.signal(signal.SIGSTOP)
    stopped = time.monotonic()
    one.wait(native.PEER_SILENT, peer.id)
    assert time.monotonic() - stopped < SILENT_S + 5
    peer.signal(signal.SIGCONT)
    one.wait(native.PEER_BACK, peer.id)
    peer.signal(signal.SIGKILL)
    one.wait(native.LINK_DOWN, peer.id, within_s=0.5)  # a closed connection is told of at once
    one.wait(native.PEER_SILENT, peer.id)


def test_beats_go_on_over_a_new_link(pair: tuple[Node, Node], loop: Loop) -> None:
    one, two = pair
    loop.moving |= {one, two}
    one.mesh.beat(two.id, True)
    one.count_until("beats_in", 3)
    one.mesh.disconnect(two.id)
    one.wait(native.PEER_SILENT, two.id)
    one.dial(two)
    one.wait(native.PEER_BACK, two.id)


def test_off_is_off(pair: tuple[Node, Node], loop: Loop) -> None:
    one, two = pair
    loop.moving |= {one, two}
    one.mesh.beat(two.id, True)
    one.mesh.beat(two.id, True)  # twice is once
    one.count_until("beats_in", 3)
    one.mesh.beat(two.id, False)
    one.mesh.beat(two.id, False)
    one.pump(0.1)
    beats = one.mesh.counters()["beats_in"]
    loop.moving.discard(two)
    assert one.none_of(native.PEER_SILENT, SILENT_S + STALE_S)
    assert one.mesh.counters()["beats_in"] == beats


def test_the_watchers_own_stall_is_not_the_peers_silence(
    make_node: MakeNode, make_peer: MakePeer, loop: Loop
) -> None:
    """A watcher that did not run for a while reads what waits before it judges."""
    one, watcher = make_node(), make_peer()
    loop.moving.add(one)
    watcher.link(one)
    one.mesh.send(watcher.id, b"watch me")
    assert one.wait(native.MESSAGE) == (watcher.id, b"watch me")
    one.count_until("beats_in", 3)
    one.mesh.beat(watcher.id, True)
    for _ in range(3):
        watcher.signal(signal.SIGSTOP)
        one.wait(native.PEER_SILENT, watcher.id)
        watcher.signal(signal.SIGCONT)
        one.wait(native.PEER_BACK, watcher.id)
    assert one.none_of(native.MESSAGE, 0.1), "the watcher told of our silence while it was stopped itself"
    loop.moving.discard(one)
    assert one.wait(native.MESSAGE) == (watcher.id, b"silent")
