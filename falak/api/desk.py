"""What the operations of the API may touch of the process they stand in. Owns nothing itself."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from falak.api.notes import Notes
from falak.core.effects import Published
from falak.core.events import Event, Prepared
from falak.core.node import Node
from falak.seam import Gateway

Emit = Callable[[dict[str, Any]], Awaitable[None]]
"""Hands one item to the client; waits while it does not read."""


class Desk(msgspec.Struct):
    """``tell`` steps an event; ``ask(peer, data, deadline_s)`` raises ``PeerError`` with the reason;
    ``take(path)`` takes a file into the store: its digest, size and exports, or an ``OperatorError``;
    ``prepared(digest)`` compiles it, and ``discard(digest)`` removes it again."""

    node: Node
    notes: Notes
    gateway: Gateway
    data: Path
    http: str
    tell: Callable[[Event], None]
    ask: Callable[[str, bytes, float], Awaitable[bytes]]
    take: Callable[[Path], Awaitable[tuple[str, int, list[str]]]]
    prepared: Callable[[str], Awaitable[Prepared]]
    discard: Callable[[str], None]
    ticket: Callable[[], str]
    counters: Callable[[], dict[str, Any]]
    leave: Callable[[], None]
    launches: dict[int, Callable[[Published], None]] = msgspec.field(default_factory=dict)
    requests: count[int] = msgspec.field(default_factory=lambda: count(1))

    def published(self, effect: Published) -> None:
        """The core ended a publication: whoever waits for it is told."""
        tell = self.launches.pop(effect.request, None)
        if tell is not None:
            tell(effect)

    def age_s(self, since: float) -> float:
        """Seconds since a time of the core."""
        return round(max(0.0, time.monotonic() - since), 3)
