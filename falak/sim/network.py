"""How long a message takes, and what a bad network does to it. Owns the dice, not the delivery."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Weather:
    """A network's character. Times in seconds, the rest probabilities that apply to every message.

    ``rtt_s``: median round trip; one way is half of it, log-normal with sigma ``jitter``, and 0.1 ms on both
    machines. ``stall``: it meets a loop that is busy for 2 to 8 ms. ``retransmit``: 0.2 s later. ``reorder``:
    up to 20 ms later. ``duplicate``: it comes twice. ``loss``: it never comes and nobody is told, which TCP
    does not do. ``tear``: its link breaks, it and what was under way there is lost, and both sides are told.
    A dial costs four round trips and 1.1 ms.
    """

    rtt_s: float = 0.0005
    jitter: float = 0.3
    stall: float = 0.01
    retransmit: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    loss: float = 0.0
    tear: float = 0.0


CALM = Weather(jitter=0.0, stall=0.0)
"""Every message takes 0.35 ms: for scenarios that people read."""


class Network:
    """Draws delays, and knows which nodes cannot reach one another."""

    def __init__(self, weather: Weather, rng: random.Random) -> None:
        self.weather, self._rng = weather, rng
        self._groups: dict[str, int] = {}
        self._apart: dict[tuple[str, str], None] = {}

    def split(self, groups: list[list[str]]) -> None:
        """From now on only nodes of one group reach one another; nodes in no group reach all."""
        self._groups = {peer: number for number, group in enumerate(groups) for peer in group}

    def part(self, a: str, b: str) -> None:
        """From now on these two do not reach one another; everybody else reaches both."""
        self._apart[(min(a, b), max(a, b))] = None

    def heal(self) -> None:
        """Everybody reaches everybody."""
        self._groups, self._apart = {}, {}

    def connected(self, a: str, b: str) -> bool:
        """Whether packets pass between two nodes."""
        if (min(a, b), max(a, b)) in self._apart:
            return False
        one, other = self._groups.get(a, -1), self._groups.get(b, -1)
        return one == other or -1 in (one, other)

    def one_way_s(self) -> float:
        """The delay of one message."""
        weather, rng = self.weather, self._rng
        delay = weather.rtt_s / 2 * rng.lognormvariate(0, weather.jitter) + 0.0001
        if rng.random() < weather.stall:
            delay += rng.uniform(0.002, 0.008)
        if rng.random() < weather.retransmit:
            delay += 0.2
        if rng.random() < weather.reorder:
            delay += rng.uniform(0.0, 0.02)
        return delay

    def dial_s(self) -> float:
        """What a new connection costs."""
        return 4 * self.weather.rtt_s + 0.0011

    def tears(self) -> bool:
        """Whether this message finds its link broken."""
        return self._rng.random() < self.weather.tear

    def copies(self) -> int:
        """How many times a message arrives: 0 (lost), 1, or 2."""
        if self._rng.random() < self.weather.loss:
            return 0
        return 2 if self._rng.random() < self.weather.duplicate else 1
