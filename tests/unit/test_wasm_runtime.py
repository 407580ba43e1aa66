"""The runtime of WASM capsules before a gateway that the test plays: which files it trusts, what it tells of them."""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("falak._native", reason="the extension is not built: `make build`")

from falak.core import events as ev
from falak.core.model import Artifact, Record
from falak.runtimes import seal
from falak.runtimes.wasm import Wasm
from falak.seam import Loaded
from tests.nodes import HELLO

DIGEST = "ab" * 32
ARTIFACT = Artifact(DIGEST, 3, "application/wasm")
RECORD = Record("hello", 1, "1", "default", artifacts=(ARTIFACT,))
TOLD_S = 20.0


class Gateway:
    """Takes loads and unloads."""

    def __init__(self) -> None:
        self.loads: list[int] = []

    def load(self, instance: int, *rest: Any, **limits: Any) -> None:
        self.loads.append(instance)

    def unload(self, instance: int) -> None:
        pass


class Stage:
    """A runtime with a sealed file in its folder, and all that it told."""

    def __init__(self, folder: Path) -> None:
        self.gateway = Gateway()
        self.told: asyncio.Queue[ev.Event] = asyncio.Queue()
        self.component = folder / DIGEST
        self.wasm = Wasm(self.gateway, folder, lambda digest: folder / digest, self.told.put_nowait)  # type: ignore[arg-type]
        self.wasm.open()
        self.file = self.wasm._files.path(DIGEST)
        written = self.file.with_name("written")
        written.write_bytes(b"machine code")
        seal.put(written, self.file)

    async def next(self) -> ev.Event:
        async with asyncio.timeout(TOLD_S):
            return await self.told.get()

    async def prepared(self) -> None:
        self.wasm.prepare(ARTIFACT)
        assert await self.next() == ev.Prepared(DIGEST)


def play(folder: Path, scene: Callable[[Stage], Awaitable[None]]) -> None:
    (folder / "aot").mkdir()

    async def run() -> None:
        stage = Stage(folder)
        try:
            await scene(stage)
        finally:
            await stage.wasm.close()

    asyncio.run(run())


def test_a_sealed_file_is_looked_at_once_and_loaded(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        await stage.prepared()
        await stage.prepared()
        stage.wasm.start(1, RECORD)
        stage.wasm.loaded(Loaded(1, 0.001))
        assert stage.gateway.loads == [1] and await stage.next() == ev.Started(1, 0.001)

    play(tmp_path, scene)


@pytest.mark.parametrize("times", ["as they are", "put back"])
def test_a_file_that_was_touched_is_not_loaded(tmp_path: Path, times: str) -> None:
    async def scene(stage: Stage) -> None:
        await stage.prepared()
        before = stage.file.stat()
        with stage.file.open("r+b") as file:
            file.write(b"M")
        if times == "put back":
            os.utime(stage.file, ns=(before.st_atime_ns, before.st_mtime_ns))
        stage.wasm.start(1, RECORD)
        told = await stage.next()
        assert isinstance(told, ev.StartFailed) and told.unprepared and not told.capsule_fault
        assert not stage.gateway.loads and not stage.file.exists()

    play(tmp_path, scene)


def test_a_file_that_cannot_be_loaded_is_removed(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        await stage.prepared()
        stage.wasm.start(1, RECORD)
        stage.wasm.loaded(Loaded(1, 0.0, "not of this engine"))
        assert await stage.next() == ev.StartFailed(1, "not of this engine", False, True)
        assert not stage.file.exists() and not seal.seal_of(stage.file).exists()

    play(tmp_path, scene)


def test_a_copy_stopped_while_it_is_loaded_damages_nothing(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        await stage.prepared()
        stage.wasm.start(1, RECORD)
        stage.wasm.stop(1)
        stage.wasm.loaded(Loaded(1, 0.0, "it was unloaded while it was being loaded"))
        assert await stage.next() == ev.Ended(1, "stopped") and stage.told.empty()
        assert stage.file.exists()

    play(tmp_path, scene)


def test_what_is_wrong_with_a_component_is_told_without_where_it_lies(tmp_path: Path) -> None:
    """What a node says of a component may end up in an answer to a stranger."""
    bare = b"\0asm\x0d\0\x01\0"
    digest = hashlib.sha256(bare).hexdigest()

    async def scene(stage: Stage) -> None:
        (tmp_path / digest).write_bytes(bare)
        stage.wasm.prepare(Artifact(digest, len(bare), "application/wasm"))
        told = await stage.next()
        assert isinstance(told, ev.Prepared) and told.capsule_fault
        assert told.why.startswith(
            "its component does not serve HTTP: no export"
        ) and "/" not in told.why.replace("wasi:http/incoming-handler", "")

    play(tmp_path, scene)


def test_a_compiled_file_that_cannot_be_written_is_this_nodes_fault(tmp_path: Path) -> None:
    component = HELLO.read_bytes()
    digest = hashlib.sha256(component).hexdigest()

    async def scene(stage: Stage) -> None:
        (tmp_path / digest).write_bytes(component)
        stage.wasm._files.path(digest).mkdir()
        stage.wasm._files.remove = lambda digest: None  # type: ignore[method-assign]
        told = await stage.wasm.prepared(digest)
        assert told.why.startswith("its compiled file cannot be written") and "/" not in told.why
        assert not told.capsule_fault and stage.told.empty()

    play(tmp_path, scene)


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_component_that_is_not_what_its_digest_says_is_removed_and_told(tmp_path: Path, damage: str) -> None:
    async def scene(stage: Stage) -> None:
        stage.file.unlink()
        if damage == "changed":
            stage.component.write_bytes(b"something else")
        stage.wasm.prepare(ARTIFACT)
        told = await stage.next()
        assert isinstance(told, ev.Prepared) and told.damaged and not told.capsule_fault
        assert "its component" in told.why and not stage.component.exists()

    play(tmp_path, scene)
