"""A stranger that sends more than anybody can want: others are served meanwhile, and nothing grows."""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread

import msgspec
import pytest

from falak import _native as native
from falak.core import wire
from falak.core.model import Capacity, SignedRecord
from tests.asking import get
from tests.hostile.conftest import MakeStranger
from tests.hostile.stranger import CAPSULE, HEARTBEATS, Stranger, counted
from tests.hostile.test_bytes import messages
from tests.hostile.test_slow_and_large import honest, rss_bytes
from tests.nodes import Running

pytestmark = pytest.mark.xdist_group("floods")
FLOOD_S = 2.0
TURN_S = 10.0
"""A polite peer is answered within this, whatever another one sends, also where everything else is busy."""
QUEUED_MAX = 16_384
"""Events that ever wait for a flooded node's loop: a peer's share, and what else happens."""
GROWTH_MAX_BYTES = 48 << 20


def garbage(one: Stranger, rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((0, 10, 1000)))


def pings(one: Stranger, rng: random.Random) -> bytes:
    return wire.encode(wire.Ping(rng.getrandbits(32)))


def calls(one: Stranger, rng: random.Random) -> bytes:
    return wire.encode(wire.Call(f"nobody-{rng.getrandbits(24)}", "cause", Capacity()))


def hellos(one: Stranger, rng: random.Random) -> bytes:
    return wire.encode(wire.Hello(one.profile, joining=True))


def summons(one: Stranger, rng: random.Random) -> bytes:
    word = wire.Summon(
        CAPSULE, 1, rng.getrandbits(20), rng.getrandbits(40), 3, 2**40, (one.id,), one.id, False, ""
    )
    return wire.encode(word)


def lookups(one: Stranger, rng: random.Random) -> bytes:
    return wire.encode(wire.Lookup(f"host/{rng.getrandbits(32)}.example", rng.getrandbits(32)))


def hosts(one: Stranger, rng: random.Random) -> bytes:
    return wire.encode(
        wire.HostEntry(
            f"{rng.getrandbits(32)}.example", SignedRecord(rng.randbytes(200), one.id, rng.randbytes(64))
        )
    )


def bad_records(one: Stranger, rng: random.Random) -> bytes:
    return wire.encode(wire.Announce(SignedRecord(rng.randbytes(500), one.id, rng.randbytes(64))))


Make = Callable[[Stranger, random.Random], bytes]
FLOODS: list[Make] = [garbage, pings, calls, hellos, summons, lookups, hosts, bad_records]


@pytest.mark.parametrize("make", FLOODS, ids=lambda make: make.__name__)
def test_a_flood_leaves_room_for_others(stranger: MakeStranger, three: list[Running], make: Make) -> None:
    one = stranger()
    one.join()
    pour(one, make, 0.5)  # what is reserved once is not growth
    before = rss_bytes(one.target)
    get(three[1], CAPSULE)  # a warm request needs no decision: only what is warm is promised to be quick
    with honest(three[1], CAPSULE):
        sent = pour(one, make, FLOOD_S)
    grown = rss_bytes(one.target) - before
    assert sent > 2000, f"{sent} messages are no flood"
    assert grown < GROWTH_MAX_BYTES, f"{grown >> 20} MiB more after {sent} messages"


def pour(one: Stranger, make: Make, for_s: float, send: Callable[[bytes], None] | None = None) -> int:
    """Send as fast as it is taken, to the target unless told otherwise. Returns how many messages."""
    send = send or (lambda data: one.mesh.send(one.target.ready["id"], data))
    rng = random.Random(1)
    ends_at = time.monotonic() + for_s
    sent = 0
    while time.monotonic() < ends_at:
        with suppress(BlockingIOError):
            send(make(one, rng))
            sent += 1
        if sent % 64 == 0:
            one.pump(0)
            one.waiting.clear()
    return sent


def beats(one: Stranger, rng: random.Random) -> bytes:
    return wire.encode(wire.Heartbeat(one.profile, rng.getrandbits(40)))


@pytest.mark.parametrize("make", [garbage, beats, bad_records], ids=lambda make: make.__name__)
def test_a_flood_of_gossip_leaves_room_for_others(stranger, three: list[Running], make: Make) -> None:
    """Gossip is handed on, so everybody hears it: nobody loses sight of anybody, and nothing grows."""
    one = stranger()
    one.mesh.subscribe(HEARTBEATS)
    one.join()
    one.wait(native.GOSSIP, HEARTBEATS)
    get(three[1], CAPSULE)
    before = [rss_bytes(node) for node in three]
    with honest(three[1], CAPSULE):
        sent = pour(one, make, FLOOD_S, lambda data: one.mesh.publish(HEARTBEATS, data))
    assert sent > 1000, f"{sent} messages are no flood"
    for node, was in zip(three, before, strict=True):
        assert rss_bytes(node) - was < GROWTH_MAX_BYTES, node.name


@pytest.mark.parametrize("make", [pings, calls, hellos, summons], ids=lambda make: make.__name__)
def test_who_floods_waits_and_others_do_not(stranger: MakeStranger, make: Make) -> None:
    """A polite peer's questions are answered while another's messages pile up: each peer has its own share."""
    rude, polite = stranger(), stranger()
    rude.join()
    polite.join()
    took: list[float] = []
    queued: list[int] = []
    stop = Event()

    def ask() -> None:
        while not stop.is_set():
            began = time.monotonic()
            polite.settled()
            took.append(time.monotonic() - began)
            queued.append(counted(polite.target, "queued"))

    asking = Thread(target=ask)
    asking.start()
    try:
        sent = pour(rude, make, FLOOD_S)
    finally:
        stop.set()
        asking.join(30)
    assert not asking.is_alive() and took, f"nobody was answered beside {sent} messages"
    assert max(queued) < QUEUED_MAX, f"{max(queued)} events waited beside {sent} messages"
    assert max(took) < TURN_S, f"{len(took)} answers beside {sent} messages, worst {max(took):.3f} s"


@pytest.mark.parametrize("seed", range(4))
def test_any_message_from_a_member_and_from_nobody(
    stranger: MakeStranger, three: list[Running], seed: int
) -> None:
    """Well-formed messages of every kind with values from nowhere, many times."""
    one, other = stranger(), stranger()
    one.join()
    other.link()
    with honest(three[1], CAPSULE):
        for at in range(200):
            for message in messages(seed * 1000 + at):
                for sender in (one, other):
                    with suppress(BlockingIOError):
                        sender.say(aimed(message, sender))
        one.settled()


def aimed(message: wire.Message, one: Stranger) -> wire.Message:
    """The message with the names that matter put where "a" stood."""
    names = {"capsule": CAPSULE, "convener": one.id, "caller": one.id, "winner": one.target.ready["id"]}
    changed = {key: names[key] for key in names if getattr(message, key, "") == "a"}
    return msgspec.structs.replace(message, **changed)
