"""Every kind of message, from anybody, in any order, with any values: the core raises nothing and stays bounded.

Pure: the core alone, told what a stranger with the network key could have a real one told.
"""

import random

import pytest

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.model import Artifact, Identity, Profile, Record, Route, SignedRecord, encode_record
from falak.core.node import Node, Place
from falak.core.settings import Settings
from tests.hostile.test_bytes import messages

PEERS = tuple(f"p{n}" for n in range(8))
CAPSULES = ("cap0", "cap1", "cap2")
TEXTS = ("me", *PEERS, *CAPSULES, "host/h.test", "h.test", "main", "", "x" * 63, "/ip4/127.0.0.1/tcp/1")
ROUNDS = 20
TIMERS_MAX = 2000


def record(name: str, publisher: str, generation: int) -> SignedRecord:
    artifact = Artifact("ab" * 32, 10, "application/wasm")
    body = Record(name, generation, "1", "default", artifacts=(artifact,), routes=(Route("h.test"),))
    return SignedRecord(encode_record(body), publisher, b"")


class Driven:
    """A node with four members and two capsules, its clock, and what else may happen to it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.node = Node(Identity("me", "me", 1), Place(), Settings(), seed)
        self.now = 0.0
        self.step(ev.Begin(1, ("/a",), kept=(record("cap0", "p0", 1), record("cap1", "me", 1))))
        for peer in PEERS[:4]:
            self.step(ev.LinkUp(peer, "/a", True))
            profile = Profile(Identity(peer, peer, 7), 1, ("/a",), ("default",), runtimes=("wasm",))
            self.step(ev.Received(peer, wire.Hello(profile)))

    def step(self, event: ev.Event) -> None:
        """One event; what it makes the node say must be sayable."""
        self.now += self.rng.choice((0.0, 0.001, 0.01, 0.3)) * self.rng.random()
        for effect in self.node.step(event, self.now):
            if isinstance(effect, ef.Send | ef.Gossip):
                wire.decode(wire.encode(effect.message))

    def hear(self, message: wire.Message) -> None:
        """A message, if its bytes are one; records come verified, so they are sound ones."""
        if wire.records_in(message):
            name = self.rng.choice(CAPSULES)
            message = wire.Announce(record(name, self.rng.choice(PEERS), self.rng.randrange(5)))
        try:
            read = wire.decode(wire.encode(message))
        except (wire.Unreadable, OverflowError):
            return
        self.step(ev.Received(self.rng.choice(PEERS), read))

    def happen(self) -> None:
        """Something that is no message."""
        number, capsule = self.rng.randrange(6), self.rng.choice(CAPSULES)
        peer = self.rng.choice(PEERS)
        self.step(
            self.rng.choice(
                (
                    ev.Tick(),
                    ev.Wanted(capsule),
                    ev.Wanted("host/h.test"),
                    ev.Started(number, 0.1),
                    ev.StartFailed(number, "why", False),
                    ev.Ended(number, "why"),
                    ev.NotHere(capsule, peer),
                    ev.Unreachable(capsule, peer),
                    ev.LinkDown(peer, "why"),
                    ev.LinkUp(peer, "/a", False),
                )
            )
        )


@pytest.mark.parametrize("seed", range(40))
def test_nothing_is_raised_and_nothing_grows(seed: int) -> None:
    driven = Driven(seed)
    for at in range(ROUNDS):
        for message in messages(seed * ROUNDS + at, TEXTS):
            driven.hear(message)
            if driven.rng.random() < 0.1:
                driven.happen()
    for name, (size, limit) in driven.node.sizes().items():
        assert size <= limit, name
    assert len(driven.node.turn.timers) < TIMERS_MAX
