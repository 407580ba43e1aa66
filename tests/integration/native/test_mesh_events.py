"""The queue as such, and the functions beside the mesh: identities and constants."""

import gc
import os
import select

import pytest

import falak
from falak import _native as native

from .conftest import MakeNode, Node

SEED = bytes(range(32))


def readable(events: native.Events) -> bool:
    return bool(select.select([events.fileno()], [], [], 0)[0])


def test_the_eventfd_is_readable_while_events_wait(pair: tuple[Node, Node]) -> None:
    one, two = pair
    two.pump(0)
    for n in range(5):
        one.mesh.send(two.id, b"%d" % n)
    two.count_until("frames_in", 5, pump=False)
    assert readable(two.events) and two.events.counters()["queued"] == 5
    assert [event[2] for event in two.events.drain(2)] == [b"0", b"1"]
    assert readable(two.events)
    assert [event[2] for event in two.events.drain()] == [b"2", b"3", b"4"]
    assert not readable(two.events) and two.events.drain() == []
    one.mesh.send(two.id, b"again")
    assert two.wait(native.MESSAGE) == (one.id, b"again")


def test_counters_of_the_queue() -> None:
    events = native.Events(capacity=3)
    assert events.counters() == {"queued": 0, "dropped": 0, "drained": 0}
    with pytest.raises(ValueError, match="capacity"):
        native.Events(capacity=0)


def test_the_descriptor_goes_with_its_queue() -> None:
    fd = native.Events(capacity=1).fileno()
    gc.collect()
    with pytest.raises(OSError):
        os.fstat(fd)


def test_a_peer_has_one_string(pair: tuple[Node, Node]) -> None:
    one, two = pair
    for _ in range(2):
        one.mesh.send(two.id, b"x")
    assert two.wait(native.MESSAGE)[0] is two.wait(native.MESSAGE)[0]


def test_signatures() -> None:
    me, other = native.peer_id(SEED), native.peer_id(bytes(32))
    signature = native.sign(SEED, b"record")
    assert len(signature) == 64
    assert native.verify(me, b"record", signature)
    assert not native.verify(me, b"recorD", signature)
    assert not native.verify(other, b"record", signature)
    for peer, data, wrong in ((me, b"record", signature[:63]), ("", b"", b""), ("x\0", b"record", signature)):
        assert not native.verify(peer, data, wrong)
    for call in (lambda: native.sign(b"short", b""), lambda: native.peer_id(bytes(33))):
        with pytest.raises(ValueError, match="key_seed must be 32 bytes"):
            call()


def test_the_key_makes_the_identity(make_node: MakeNode) -> None:
    node = make_node()
    assert node.id == native.peer_id(node.seed)
    # The identity of this seed in every implementation of libp2p.
    assert native.peer_id(bytes(32)) == "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"


def test_constants() -> None:
    assert falak.__version__ == native.VERSION
    assert native.WASMTIME_VERSION.split(".")[0].isdigit()
    assert native.CPU.replace("-", "").replace("_", "").replace(".", "").isalnum()
    assert list(native.LATENCY_BUCKETS_US) == sorted(set(native.LATENCY_BUCKETS_US))
    kinds = "LISTENING LINK_UP LINK_DOWN DIALED DIAL_FAILED MESSAGE UNDELIVERED GOSSIP ASKED ANSWERED FETCHED"
    assert [getattr(native, kind) for kind in kinds.split()] == list(range(1, 12))
    assert (native.PEER_SILENT, native.PEER_BACK, native.WANTED, native.LOADED, native.FATAL) == (
        12,
        13,
        14,
        19,
        99,
    )
