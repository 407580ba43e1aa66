"""Links with peers: dials by token, messages, gossip, beats. Owns which dials are under way.

It carries out what the core wants of the mesh and tells what came of it; whom to dial, and when, is the core's.
A command that native does not take is told as the failure it is: a message as undelivered, a dial as failed.
"""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import Final

from falak.core import effects as ef
from falak.core import events as ev
from falak.core.wire import encode
from falak.seam import DialEnded, FramesLost, Mesh

NOT_TAKEN: Final = (BlockingIOError, ConnectionError, ValueError)
"""What a command of native raises when it does not take it: full, closed, or a value that cannot be right."""


class Links:
    """``counters`` counts what was given and not taken; ``failed`` keeps the last reason by address dialled."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._tokens = count(1)
        self._dials: dict[int, tuple[str, str]] = {}
        self.counters: Counter[str] = Counter()
        self.failed: dict[str, str] = {}
        self._sent = 0
        self._lost = 0

    def send(self, effect: ef.Send) -> ev.Event | None:
        """Queue a message to a peer."""
        try:
            self._mesh.send(effect.peer, encode(effect.message))
        except NOT_TAKEN:
            self.counters["sends_not_taken"] += 1
            return ev.Undelivered(effect.peer)
        self._sent += 1
        return None

    def lost(self, told: FramesLost) -> ev.Event:
        """Messages given to native were not written."""
        self._lost += told.frames
        return ev.Undelivered(told.peer)

    def unsent(self) -> int:
        """Messages given to native that are neither written nor lost yet."""
        return self._sent - self._lost - self._mesh.counters()["frames_out"]

    def gossip(self, effect: ef.Gossip) -> None:
        """Gossip a message; where it is not taken, it is as lost as gossip may be."""
        try:
            self._mesh.publish(effect.topic, encode(effect.message))
        except NOT_TAKEN:
            self.counters["gossip_not_taken"] += 1

    def subscribe(self, effect: ef.Subscribe) -> None:
        """Hear a topic. Raises as native: without its topics a node is none."""
        self._mesh.subscribe(effect.topic)

    def dial(self, effect: ef.Dial) -> ev.Event | None:
        """Connect; ends in ``LinkUp`` by itself, or in the ``DialFailed`` that ``dial_ended`` makes."""
        token = next(self._tokens)
        try:
            self._mesh.dial(token, effect.address)
        except NOT_TAKEN as error:
            return self._failed(effect.peer, effect.address, DialEnded(token, why=str(error)))
        self._dials[token] = (effect.peer, effect.address)
        return None

    def dial_ended(self, told: DialEnded) -> ev.Event | None:
        """A dial ended; only a failure is news."""
        peer, address = self._dials.pop(told.token, ("", ""))
        if told.why and address:
            return self._failed(peer, address, told)
        self.failed.pop(address, None)
        return None

    def _failed(self, peer: str, address: str, told: DialEnded) -> ev.Event:
        if not peer:  # a contact: a person may be waiting to hear why; there are few
            self.failed[address] = told.why
        return ev.DialFailed(peer, address, told.refused, told.why, told.answered_by)

    def hangup(self, effect: ef.Hangup) -> None:
        """Close the links with a peer."""
        try:
            self._mesh.disconnect(effect.peer)
        except NOT_TAKEN:
            self.counters["hangups_not_taken"] += 1

    def beat(self, effect: ef.Beat) -> None:
        """Exchange beats, or stop."""
        try:
            self._mesh.beat(effect.peer, effect.on)
        except NOT_TAKEN:
            self.counters["beats_not_taken"] += 1
