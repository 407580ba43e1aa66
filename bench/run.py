"""One run of the benchmarks: its rounds, its folder, its processes, and their end whatever happens."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.figures import Row, Target
from bench.machine import ROOT, busy_s
from bench.processes import Process, left_behind

HELLO = ROOT / "examples" / "hello" / "hello.wasm"


@dataclass(frozen=True, slots=True)
class Claim:
    """A file of ``bench/claims``: its name on the command line, what it promises, and how that is measured."""

    name: str
    targets: tuple[Target, ...]
    measure: Callable[[Run], list[Row]]


class Run:
    """What a claim works with. ``quick``: too few rounds and samples to be written down, enough for a test.
    ``others`` is known at its end: the share of the machine that went to work which was not this run's."""

    def __init__(self, *, rounds: int, quick: bool = False) -> None:
        self.rounds, self.quick = rounds, quick
        self.folder = Path(tempfile.mkdtemp(prefix="falak-bench-"))
        self._processes: list[Process] = []
        self._made = 0
        # An installed Falak has its bytecode compiled. A clone's is compiled by its first start, unless the
        # environment forbids that, and then each start would be measured with a compilation (0.1 s) in it.
        self._env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._env["PYTHONPYCACHEPREFIX"] = str(self.folder / "bytecode")
        cores = sorted(os.sched_getaffinity(0))
        self.server_cpus, self.load_cpus = {cores[0]}, {cores[-1]}
        self.others = 0.0
        self._began = self._spent()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_all()
        self.others = self._others()
        left = left_behind()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
        if left and error is None:
            raise RuntimeError(f"processes that outlived their parents were killed: {left}")

    def _spent(self) -> tuple[float, float, float]:
        """Time on the wall, CPU time of the whole machine, and of this run's ended processes."""
        own = os.times()
        return own.elapsed, busy_s(Path("/proc/stat").read_text()), sum(own[:4])

    def _others(self) -> float:
        wall_s, all_s, own_s = (now - then for now, then in zip(self._spent(), self._began, strict=True))
        return min(1.0, max(0.0, (all_s - own_s) / (wall_s * (os.cpu_count() or 1))))

    def say(self, text: str) -> None:
        """Progress, on stderr: stdout is the table's."""
        print(text, file=sys.stderr, flush=True)

    def fresh(self, kind: str) -> Path:
        """A path in the run's folder that was not given before."""
        self._made += 1
        return self.folder / f"{self._made:04d}-{kind}"

    def start(
        self,
        argv: Sequence[str | Path],
        *,
        out: int | None = None,
        tells: bool = False,
        cpus: Iterable[int] | None = None,
    ) -> Process:
        """Start a process (see ``Process``) that ends with the run at the latest."""
        process = Process(argv, env=self._env, err=self.fresh("err"), out=out, tells=tells, cpus=cpus)
        self._processes.append(process)
        return process

    def output(
        self, argv: Sequence[str | Path], *, within_s: float = 60.0, cpus: Iterable[int] | None = None
    ) -> str:
        """What a command prints. Raises ``RuntimeError`` if it fails."""
        path = self.fresh("out")
        with path.open("wb") as out:
            process = self.start(argv, out=out.fileno(), cpus=cpus)
        process.succeeded(within_s)
        self.end(process)
        return path.read_text()

    def end(self, process: Process) -> None:
        process.end()
        if process in self._processes:
            self._processes.remove(process)

    def end_all(self) -> None:
        """End what still runs: all are asked before any is waited for."""
        for process in self._processes:
            process.ask_to_end()
        while self._processes:
            self._processes.pop().end()
