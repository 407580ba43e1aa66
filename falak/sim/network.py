"""How long a message takes, and what a bad network does to it. Owns the dice, not the delivery."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Weather:
    """A network's character. Times in seconds, the rest probabilities.

    ``rtt_s``: median round trip (one way is half of it, log-normal, sigma 0.3). ``stall``: a message meets a
    loop that is busy for 2 to 8 ms. ``loss``, ``duplicate``, ``reorder`` (by up to 20 ms) apply to every
    message. A dial costs four round trips and 1.1 ms.
    """

    rtt_s: float = 0.0005
    stall: float = 0.01
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0


class Network:
    """Draws delays, and knows which nodes cannot reach one another."""

    def __init__(self, weather: Weather, rng: random.Random) -> None:
        self.weather, self._rng = weather, rng
        self._groups: dict[str, int] = {}

    def split(self, groups: list[list[str]]) -> None:
        """From now on only nodes of one group reach one another; nodes in no group reach all."""
        self._groups = {peer: number for number, group in enumerate(groups) for peer in group}

    def heal(self) -> None:
        """Everybody reaches everybody."""
        self._groups = {}

    def connected(self, a: str, b: str) -> bool:
        """Whether packets pass between two nodes."""
        return self._groups.get(a, -1) == self._groups.get(b, -1) or -1 in (
            self._groups.get(a, -1),
            self._groups.get(b, -1),
        )

    def one_way_s(self) -> float:
        """The delay of one message."""
        delay = self.weather.rtt_s / 2 * self._rng.lognormvariate(0, 0.3) + 0.0001
        if self._rng.random() < self.weather.stall:
            delay += self._rng.uniform(0.002, 0.008)
        if self._rng.random() < self.weather.reorder:
            delay += self._rng.uniform(0.0, 0.02)
        return delay

    def dial_s(self) -> float:
        """What a new connection costs."""
        return 4 * self.weather.rtt_s + 0.0011

    def copies(self) -> int:
        """How many times a message arrives: 0 (lost), 1, or 2."""
        if self._rng.random() < self.weather.loss:
            return 0
        return 2 if self._rng.random() < self.weather.duplicate else 1
