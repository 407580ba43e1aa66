"""WASM capsules: components compiled for this machine, run by the native gateway.

Owns the AOT files (``DATA/aot/WASMTIME-CPU/DIGEST.cwasm``, 0700: running a file that somebody else wrote is
running their code, so it is never given away and never taken) and which instances native was told of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from falak.core import events as ev
from falak.core.model import Artifact, Record
from falak.files import remove_unfinished
from falak.runtimes.compiler import Compiler
from falak.runtimes.protocol import Tell
from falak.seam import CPU, WASMTIME_VERSION, Gateway, Loaded

MEDIA_TYPE: Final = "application/wasm"
UNLOAD_AGAIN_S: Final = 0.05


class Wasm:
    """The runtime ``wasm``. ``artifact_path`` says where an artifact is."""

    def __init__(self, gateway: Gateway, data: Path, artifact_path: Callable[[str], Path], tell: Tell) -> None:
        self._gateway, self._artifact_path, self._tell = gateway, artifact_path, tell
        self._folder = data / "aot" / f"{WASMTIME_VERSION}-{CPU}"
        self._compiler = Compiler()

    def open(self) -> None:
        """Make the folder. Raises ``OSError``."""
        for folder in (self._folder.parent, self._folder):
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)
        remove_unfinished(self._folder)

    def prepare(self, artifact: Artifact) -> None:
        """See ``Runtime``: compile, unless it was compiled already."""
        target = self._aot_path(artifact.digest)

        def done(why: str, capsule_fault: bool) -> None:
            self._tell(ev.Prepared(artifact.digest, why, capsule_fault))

        if target.exists():
            self._soon(ev.Prepared(artifact.digest))
            return
        try:
            self._compiler.submit(self._artifact_path(artifact.digest), target, done)
        except asyncio.QueueFull:
            self._soon(ev.Prepared(artifact.digest, "too many components wait to be compiled at this node"))

    def start(self, instance: int, record: Record) -> None:
        """See ``Runtime``: map the AOT file; the answer is ``loaded``'s."""
        if len(record.artifacts) != 1:
            self._soon(ev.StartFailed(instance, "a wasm capsule has exactly one artifact, its component", True))
            return
        try:
            self._gateway.load(
                instance,
                record.name,
                str(self._aot_path(record.artifacts[0].digest)),
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

    def loaded(self, told: Loaded) -> None:
        """Native has it, or could not load it."""
        if told.why:
            self._tell(ev.StartFailed(told.instance, told.why, False))
        else:
            self._tell(ev.Started(told.instance, told.load_s))

    def stop(self, instance: int) -> None:
        """See ``Runtime``. A full command queue only delays it: nothing is sent to the copy any more."""
        try:
            self._gateway.unload(instance)
        except BlockingIOError:
            asyncio.get_running_loop().call_later(UNLOAD_AGAIN_S, self.stop, instance)
            return
        self._soon(ev.Ended(instance, "stopped"))

    async def close(self) -> None:
        """See ``Runtime``."""
        await self._compiler.close()

    def _aot_path(self, digest: str) -> Path:
        return self._folder / f"{digest}.cwasm"

    def _soon(self, event: ev.Event) -> None:
        asyncio.get_running_loop().call_soon(self._tell, event)
