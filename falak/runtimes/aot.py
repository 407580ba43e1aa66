"""AOT files: components compiled for this machine, each under the seal of what the compiler wrote.

Owns the folder ``DATA/aot/WASMTIME-CPU`` (0700): ``DIGEST.cwasm`` and ``DIGEST.seal``. A file is code that runs
in this process, and nothing that loads it looks at its content: so one that is not what was written, byte by
byte, is never loaded. It is read once, at low priority, when it is first met; after that its inode and times
tell whether somebody touched it. It never compiles.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from falak.files import remove_unfinished
from falak.runtimes import seal
from falak.seam import CPU, WASMTIME_VERSION

NICE: Final = 10
Mark = tuple[int, int, int, int]


class AotFiles:
    """The folder of one node. On the loop's thread only."""

    def __init__(self, data: Path) -> None:
        self._folder = data / "aot" / f"{WASMTIME_VERSION}-{CPU}"
        self._sound: dict[str, Mark] = {}
        self._reader = ThreadPoolExecutor(1, "aot", _lower_priority)

    def open(self) -> None:
        """Make the folder. Raises ``OSError``."""
        for folder in (self._folder.parent, self._folder):
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)
        remove_unfinished(self._folder)

    def path(self, digest: str) -> Path:
        """Where a component's file is, or would be."""
        return self._folder / f"{digest}.cwasm"

    def is_sound(self, digest: str) -> bool:
        """Whether the file was found whole, or made here, and was not touched since."""
        return digest in self._sound and self._sound[digest] == _mark(self.path(digest))

    def made(self, digest: str) -> None:
        """The compiler has just put it there."""
        self._note(digest, _mark(self.path(digest)))

    async def look(self, digest: str) -> bool:
        """Read the file and hold it against its seal: whether it is there and whole."""
        path = self.path(digest)
        mark = _mark(path)
        whole = await asyncio.get_running_loop().run_in_executor(self._reader, seal.is_whole, path)
        self._note(digest, mark if whole else None)
        return self.is_sound(digest)

    def _note(self, digest: str, mark: Mark | None) -> None:
        if mark is None:
            self._sound.pop(digest, None)
        else:
            self._sound[digest] = mark

    def remove(self, digest: str) -> None:
        """Remove a file that is of no use. Raises ``OSError``. (A power cut may bring it back: every run of a
        node reads it again.)"""
        self._note(digest, None)
        seal.remove(self.path(digest))

    def close(self) -> None:
        """Read no more."""
        self._reader.shutdown(wait=False, cancel_futures=True)


def _lower_priority() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def _mark(path: Path) -> Mark | None:
    """What changes when a file is written to or replaced; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
