"""WASM capsules: components compiled for this machine (``aot``), run by the native gateway.

Owns which instances native was told of, and what became of them. Running a file that somebody else wrote is
running their code, so an AOT file is never given away and never taken. One that cannot be loaded is removed and
the core told that it must be prepared again; so is a component on this disk that is not what its digest names.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from falak.core import events as ev
from falak.core.model import Artifact, Record
from falak.runtimes.aot import AotFiles
from falak.runtimes.compiler import Compiler, Outcome
from falak.runtimes.protocol import Tell
from falak.seam import Gateway, Loaded

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/wasm"
UNLOAD_AGAIN_S: Final = 0.05


class Wasm:
    """The runtime ``wasm``. ``artifact_path`` says where an artifact is."""

    def __init__(self, gateway: Gateway, data: Path, artifact_path: Callable[[str], Path], tell: Tell) -> None:
        self._gateway, self._artifact_path, self._tell = gateway, artifact_path, tell
        self._files = AotFiles(data)
        self._compiler = Compiler()
        self._preparing: set[asyncio.Task[None]] = set()
        self._loading: dict[int, str] = {}

    def open(self) -> None:
        """Make the folder. Raises ``OSError``."""
        self._files.open()

    # --- preparing ---------------------------------------------------------------------------------------

    def prepare(self, artifact: Artifact) -> None:
        """See ``Runtime``: compile, unless a sound file is there."""
        if self._files.is_sound(artifact.digest):
            self._soon(ev.Prepared(artifact.digest))
            return
        task = asyncio.get_running_loop().create_task(self._prepare(artifact.digest))
        self._preparing.add(task)
        task.add_done_callback(self._preparing.discard)

    async def _prepare(self, digest: str) -> None:
        self._tell(await self.prepared(digest))

    async def prepared(self, digest: str) -> ev.Prepared:
        """Compile the component with this digest unless a sound file is there: what came of it, which is told
        nobody else. It is on disk. Its reason may come before strangers: it names no file."""
        if self._files.is_sound(digest) or await self._files.look(digest):
            return ev.Prepared(digest)
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        try:
            self._files.remove(digest)
            source, target = self._artifact_path(digest), self._files.path(digest)
            self._compiler.submit(
                source, digest, target, lambda outcome: None if done.done() else done.set_result(outcome)
            )
        except asyncio.QueueFull:
            return ev.Prepared(digest, "too many components wait to be compiled at this node")
        except OSError as error:
            log.error("an AOT file cannot be made", extra={"fields": {"why": str(error)}})
            return ev.Prepared(digest, f"its compiled file cannot be written: {error.strerror}")
        return self._compiled(digest, await done)

    def _compiled(self, digest: str, outcome: Outcome) -> ev.Prepared:
        why = outcome.why
        if outcome.damaged:
            log.error("a component is to be fetched again", extra={"fields": {"digest": digest, "why": why}})
            try:
                self._artifact_path(digest).unlink(missing_ok=True)
            except OSError as error:  # what stays would be taken for the component again
                return ev.Prepared(digest, f"{why}, and cannot be removed: {error.strerror}")
        elif not why:
            self._files.made(digest)
        return ev.Prepared(digest, why, outcome.capsule_fault, outcome.damaged)

    # --- copies ------------------------------------------------------------------------------------------

    def start(self, instance: int, record: Record) -> None:
        """See ``Runtime``: map the AOT file; the answer is ``loaded``'s."""
        if len(record.artifacts) != 1:
            self._soon(ev.StartFailed(instance, "a wasm capsule has exactly one artifact, its component", True))
            return
        digest = record.artifacts[0].digest
        if not self._files.is_sound(digest):
            why = "its compiled file is gone or was changed"
            self._drop(digest, why)
            self._soon(ev.StartFailed(instance, why, False, unprepared=True))
            return
        try:
            self._gateway.load(
                instance,
                record.name,
                str(self._files.path(digest)),
                memory_bytes=record.limits.memory_bytes,
                cpu_ms=record.limits.cpu_ms,
                wall_ms=record.limits.wall_ms,
                env=dict(record.env),
                outgoing=record.outgoing,
            )
        except (BlockingIOError, ConnectionError) as error:
            self._soon(ev.StartFailed(instance, str(error), False))
        except (ValueError, OverflowError) as error:
            self._soon(ev.StartFailed(instance, str(error), True))
        else:
            self._loading[instance] = digest

    def loaded(self, told: Loaded) -> None:
        """Native has it, or could not load the file. Of what was stopped meanwhile nothing more is told."""
        digest = self._loading.pop(told.instance, None)
        if digest is None:
            return
        if not told.why:
            self._tell(ev.Started(told.instance, told.load_s))
            return
        self._drop(digest, told.why)
        why = told.why.replace(str(self._files.path(digest)), "its compiled file")
        self._tell(ev.StartFailed(told.instance, why, False, unprepared=True))

    def _drop(self, digest: str, why: str) -> None:
        log.error("an AOT file is removed", extra={"fields": {"digest": digest, "why": why}})
        try:
            self._files.remove(digest)
        except OSError as error:  # the next look at it tells
            log.error("it could not be removed", extra={"fields": {"why": error.strerror}})

    def stop(self, instance: int) -> None:
        """See ``Runtime``. A full command queue only delays it: nothing is sent to the copy any more."""
        self._loading.pop(instance, None)
        try:
            self._gateway.unload(instance)
        except BlockingIOError:
            asyncio.get_running_loop().call_later(UNLOAD_AGAIN_S, self.stop, instance)
            return
        self._soon(ev.Ended(instance, "stopped"))

    async def close(self) -> None:
        """See ``Runtime``."""
        for task in self._preparing:
            task.cancel()
        await asyncio.gather(*self._preparing, return_exceptions=True)
        await self._compiler.close()
        self._files.close()

    def _soon(self, event: ev.Event) -> None:
        asyncio.get_running_loop().call_soon(self._tell, event)
