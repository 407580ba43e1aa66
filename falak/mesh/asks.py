"""Questions to peers, and their answers as awaitables. Owns the asks under way; never what is asked."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Final

from falak.errors import PeerError
from falak.mesh.links import NOT_TAKEN
from falak.seam import AskAnswered, Mesh

ASKS_MAX: Final = 4096
"""Asks of this node under way; one more fails at once."""


class NoAnswer(PeerError):
    """A peer did not answer; the text says why."""


class Asks:
    """Asks over one mesh."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._tokens = count(1)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}

    async def ask(self, peer: str, data: bytes, deadline_s: float) -> bytes:
        """The peer's answer. Raises ``NoAnswer`` by the deadline."""
        if len(self._waiting) >= ASKS_MAX:
            raise NoAnswer(f"{ASKS_MAX} asks are under way at this node")
        token = next(self._tokens)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[token] = answer
        try:
            self._mesh.ask(token, peer, data, max(1, round(deadline_s * 1000)))
            async with asyncio.timeout(deadline_s + 0.1):  # native's own deadline is the one that counts
                return await answer
        except NOT_TAKEN as error:
            raise NoAnswer(str(error)) from None
        except TimeoutError:
            raise NoAnswer(f"no answer within {deadline_s:g} s") from None
        finally:
            del self._waiting[token]

    def answered(self, told: AskAnswered) -> None:
        """Native tells of an answer, or why there is none."""
        waiting = self._waiting.get(told.token)
        if waiting is None or waiting.done():
            return
        if told.why:
            waiting.set_exception(NoAnswer(told.why))
        else:
            waiting.set_result(told.data)

    def answer(self, ask: int, data: bytes) -> None:
        """Answer a peer's ask; a peer that is gone misses nothing."""
        try:
            self._mesh.answer(ask, data)
        except NOT_TAKEN:
            return
