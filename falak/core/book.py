"""The address book: where nodes were met, kept on disk, so that a node that lost everybody finds them again.

Owns addresses only; never dials. Whoever was met stays in it, dropped or left, until it was sought in vain for
``redial_forget_s`` or newer entries need its place: the last node of a mesh to stop has seen all others leave, and
the first one to start again must find them all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from falak.core.effects import Persist
from falak.core.turn import Turn

BOOK_MAX: Final = 1024
"""Addresses kept; beyond it the one that was met longest ago is forgotten."""


class Book:
    """The room. An address ends in ``/p2p/ID`` where its peer is known."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._peer_at: dict[str, str] = {}

    def begin(self, addresses: Iterable[str]) -> None:
        """What the disk kept, and what tickets name: neither was met in this run."""
        for address in addresses:
            self._peer_at[address] = address.rpartition("/p2p/")[2] if "/p2p/" in address else ""
        self._bound()

    def met(self, peer: str, addresses: tuple[str, ...]) -> None:
        """A peer said where it can be reached: there, and nowhere else any more."""
        if not addresses:
            return
        self.forget(peer)
        for address in addresses:
            self._peer_at.pop(address, None)
            self._peer_at[address] = peer
        self._bound()

    def forget(self, peer: str) -> None:
        """It was sought for long enough."""
        for address in [address for address, known in self._peer_at.items() if known == peer]:
            del self._peer_at[address]

    def write(self) -> None:
        """Keep it on disk, one address a line."""
        self._turn.do(Persist("book", "\n".join(self._peer_at).encode()))

    def _bound(self) -> None:
        for address in list(self._peer_at)[: max(0, len(self._peer_at) - BOOK_MAX)]:
            del self._peer_at[address]
