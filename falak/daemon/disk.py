"""What the core persists, written off the loop. Owns one thread and the bound on what waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from falak.core import effects as ef
from falak.core import events as ev
from falak.daemon.folder import DataFolder

WAITING_MAX: Final = 4096
"""Writes that wait for the disk; one more fails at once, and the core hears why."""


class Disk:
    """Writes of one node, in order. ``tell`` is called on the loop."""

    def __init__(self, folder: DataFolder, tell: Callable[[ev.Event], None]) -> None:
        self._folder, self._tell = folder, tell
        self._thread = ThreadPoolExecutor(1, "disk")
        self._waiting = 0

    def persist(self, effect: ef.Persist) -> ev.Event | None:
        """Write; ``Persisted`` follows."""
        if self._waiting >= WAITING_MAX:
            return ev.Persisted(effect.key, f"{WAITING_MAX} writes wait for this node's disk")
        self._waiting += 1
        loop = asyncio.get_running_loop()
        written = self._thread.submit(self._write, effect)
        written.add_done_callback(
            lambda done: loop.call_soon_threadsafe(self._written, effect.key, done.result())
        )
        return None

    def _write(self, effect: ef.Persist) -> str:
        try:
            self._folder.write_state(effect.key, effect.value)
        except OSError as error:
            return f"{error.filename or self._folder.path}: {error.strerror or error}"
        except ValueError as error:
            return str(error)
        return ""

    def _written(self, key: str, why: str) -> None:
        self._waiting -= 1
        self._tell(ev.Persisted(key, why))

    def close(self) -> None:
        """Finish what waits, then end the thread."""
        self._thread.shutdown()
