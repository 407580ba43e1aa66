"""One compilation at a time, each in a process of its own. Owns the queue; not what is made.

Several at once would starve the machine. The queue is bounded; what finds it full fails at once and is asked
for again when it is needed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from falak.aside import Overdue, last_words, run_aside
from falak.runtimes.compile import CAPSULE_FAULT, DAMAGED

log = logging.getLogger(__name__)

QUEUE_MAX: Final = 1024
"""Compilations that wait."""
COMPILE_S: Final = 300.0
"""A compilation that takes longer is ended. Larger: room for huge components on slow machines."""


class Outcome(msgspec.Struct, frozen=True):
    """``why`` is empty when the file is there. ``capsule_fault``: the component is bad anywhere; ``damaged``: it
    is not what its digest names."""

    why: str = ""
    capsule_fault: bool = False
    damaged: bool = False


Done = Callable[[Outcome], None]


class _Job(msgspec.Struct, frozen=True):
    source: Path
    digest: str
    target: Path
    done: Done


class Compiler:
    """The queue of one node."""

    def __init__(self) -> None:
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue(QUEUE_MAX)
        self._worker: asyncio.Task[None] | None = None

    def submit(self, source: Path, digest: str, target: Path, done: Done) -> None:
        """Compile the component of that digest; ``done`` is called on the loop, by ``COMPILE_S`` after its turn
        came. Raises ``asyncio.QueueFull``."""
        self._jobs.put_nowait(_Job(source, digest, target, done))
        if self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._work(), name="compiler")

    async def _work(self) -> None:
        while True:
            job = await self._jobs.get()
            job.done(await _compile(job))

    async def close(self) -> None:
        """End the compilation under way; nothing is told any more."""
        if self._worker is not None:
            self._worker.cancel()
            with suppress(asyncio.CancelledError):
                await self._worker


async def _compile(job: _Job) -> Outcome:
    words = (str(job.source), job.digest, str(job.target))
    try:
        code, output = await run_aside("falak.runtimes.compile", *words, deadline_s=COMPILE_S)
    except OSError as error:
        return Outcome(f"the compiler could not be started: {error}")
    except Overdue as error:
        return Outcome(f"compiling was ended: {error}")
    said = output.decode(errors="replace")
    if code == 0:
        return Outcome()
    if code in (CAPSULE_FAULT, DAMAGED):
        return Outcome(said.strip(), code == CAPSULE_FAULT, code == DAMAGED)
    log.error("a component was not compiled", extra={"fields": {"said": said}})
    return Outcome(last_words(output) or f"the compiler ended with {code}")
