"""Artifacts by digest, in ``DATA/artifacts``: what is there, and getting more from peers.

Owns the folder and the fetches under way. A file is there under its digest only once it is whole and verified
(native verifies what it fetches, ``take`` what a person gives). Native serves the same folder to peers.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import count
from pathlib import Path
from typing import Final

import msgspec

from falak.aside import Overdue, last_words, run_aside
from falak.core import effects as ef
from falak.core import events as ev
from falak.core.model import UNREADABLE
from falak.errors import USAGE, OperatorError
from falak.files import remove_unfinished
from falak.seam import BlobFetched, Mesh, is_digest

log = logging.getLogger(__name__)

TAKE_S: Final = 60.0
"""Hashing, copying and looking into a person's file takes no longer, or has failed."""
TAKES_AT_ONCE: Final = 2
"""More wait for their turn, so that they do not starve the machine."""


class Taken(msgspec.Struct, frozen=True):
    """What ``falak.snapshots.take`` prints; ``why`` is empty when the file was taken in."""

    digest: str = ""
    size_bytes: int = 0
    exports: list[str] = []
    why: str = ""


class Store:
    """The folder of one node. Use it only under the lock of its data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tokens = count(1)
        self._fetches: dict[int, ef.Fetch] = {}
        self._takes = asyncio.Semaphore(TAKES_AT_ONCE)

    def open(self) -> tuple[str, ...]:
        """Make the folder if need be, clear what was left unfinished. Returns the digests found, sorted.
        Raises ``OSError``."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        remove_unfinished(self.folder)
        return tuple(sorted(path.name for path in self.folder.iterdir() if is_digest(path.name)))

    def path(self, digest: str) -> Path:
        """Where an artifact is, or would be. Raises ``ValueError`` for what is no digest."""
        if not is_digest(digest):
            raise ValueError(f"{digest!r} is no sha256 in hex")
        return self.folder / digest

    def fetch(self, mesh: Mesh, effect: ef.Fetch) -> ev.Event | None:
        """Begin to copy an artifact from a peer; returns what is known at once."""
        artifact, peer = effect.artifact, effect.peer
        try:
            path = self.path(artifact.digest)
            if path.exists():
                return ev.Fetched(artifact.digest, peer)
            token = next(self._tokens)
            mesh.fetch(token, peer, artifact.digest, artifact.size_bytes, str(path))
        except OSError as error:
            return ev.Fetched(artifact.digest, peer, error.strerror or str(error))
        except (ValueError, OverflowError) as error:
            return ev.Fetched(artifact.digest, peer, str(error))
        self._fetches[token] = effect
        return None

    def fetched(self, told: BlobFetched) -> ev.Event | None:
        """Native ended a fetch."""
        effect = self._fetches.pop(told.token, None)
        if effect is None:
            return None
        why = told.why.replace(f"{self.folder}/", "")  # it may come before strangers: it names no place
        return ev.Fetched(effect.artifact.digest, effect.peer, why)

    def discard(self, digest: str) -> None:
        """Remove an artifact that nothing is to be made of. What cannot be removed stays, with a line in the
        log."""
        try:
            self.path(digest).unlink(missing_ok=True)
        except OSError as error:
            log.error("an artifact stays", extra={"fields": {"why": str(error)}})

    async def take(self, path: Path) -> tuple[str, int, list[str]]:
        """Take a person's file in: its digest, its size and the interfaces that the component exports. Raises
        ``OperatorError`` with a text for people."""
        try:
            async with self._takes:
                arguments = (str(self.folder), str(path))
                code, output = await run_aside("falak.snapshots.take", *arguments, deadline_s=TAKE_S)
            told = msgspec.json.decode(output, type=Taken)
        except OSError as error:
            raise OperatorError(f"{path} could not be taken in: {error}") from None
        except Overdue as error:
            raise OperatorError(f"{path} could not be taken in: {error}", "is the disk very slow?") from None
        except UNREADABLE:  # it died before it could say why: its last words are all there is
            log.error(
                "a file could not be taken in", extra={"fields": {"said": output.decode(errors="replace")}}
            )
            words = last_words(output) or "the process for it was ended"
            raise OperatorError(f"{path} could not be taken in: {words}", "this node's log says more") from None
        if told.why:
            hint = "a capsule is a WebAssembly component that exports wasi:http" if code == USAGE else ""
            raise OperatorError(told.why, hint, code)
        return told.digest, told.size_bytes, told.exports
