"""Processes of a benchmark: started, timed, weighed, and ended by their id. It knows none of their commands.

Every wait is a wait on a pidfd or a pipe: a wait with a timeout in Python's ``subprocess`` polls in growing
steps (up to 50 ms), and such a ruler cannot measure a start. Numbers come from ``/proc``: Linux only.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

MARK: Final = "FALAK_BENCH_RUN"
"""Environment variable that every process of this run carries: what is left behind is found by it."""
END_S: Final = 10.0
"""A process that was asked to end and did not within this time is killed."""


class Process:
    """A child process and a descriptor of it. ``cpus`` pins it from its first instruction; its stdout goes to
    the descriptor ``out`` (None: nowhere), its stderr is added to the file ``err``; with ``tells`` it is a pipe
    instead, kept open to its end, whose lines ``line`` gives."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        err: Path,
        out: int | None = None,
        tells: bool = False,
        cpus: Iterable[int] | None = None,
    ) -> None:
        self.argv, self.err = [str(word) for word in argv], err
        before = os.sched_getaffinity(0)
        with err.open("ab") as log:
            try:
                if cpus is not None:
                    os.sched_setaffinity(0, cpus)  # inherited; thread pools size themselves by it
                self.started = time.perf_counter()
                self._popen = subprocess.Popen(
                    self.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL if out is None else out,
                    stderr=subprocess.PIPE if tells else log,
                    env={**env, MARK: str(os.getpid())},
                )
            finally:
                os.sched_setaffinity(0, before)
        self.pid = self._popen.pid
        self._pidfd = os.pidfd_open(self.pid)
        self._ended_at = 0.0

    def line(self) -> str:
        """The next line that it tells, empty at its end. Waits for it."""
        assert self._popen.stderr is not None, "started without `tells`"
        return str(self._popen.stderr.readline(), "utf-8")

    def ended(self, within_s: float) -> bool:
        """Whether it ends within a time. Returns at the moment it does."""
        if self._popen.returncode is None and select.select([self._pidfd], [], [], within_s)[0]:
            self._ended_at = time.perf_counter()
            self._popen.wait()
        return self._popen.returncode is not None

    def lasted_s(self) -> float:
        """From its spawn to its end, after ``ended`` saw that."""
        return self._ended_at - self.started

    def succeeded(self, within_s: float) -> None:
        """Wait for its end. Raises ``RuntimeError`` with the last of its stderr if it failed or stayed."""
        if not self.ended(within_s):
            self.end()
            raise RuntimeError(f"{self.argv[0]} did not end within {within_s:g} s: {self.last_words()}")
        if self._popen.returncode:
            raise RuntimeError(
                f"{' '.join(self.argv)} ended with {self._popen.returncode}: {self.last_words()}"
            )

    def ask_to_end(self) -> None:
        """SIGTERM, without waiting."""
        if self._popen.returncode is None:
            signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, and its end."""
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self._popen.wait()

    def end(self) -> None:
        """SIGTERM, ``END_S``, SIGKILL. Safe to call twice."""
        self.ask_to_end()
        if self._pidfd >= 0 and not self.ended(END_S):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            self._popen.wait()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
            if self._popen.stderr is not None:
                self._popen.stderr.close()

    def last_words(self) -> str:
        return self.err.read_text(errors="replace")[-800:].strip()

    def cpu_s(self) -> float:
        """CPU seconds of all its threads, ended ones too, since its start (the kernel's clock of a process)."""
        return time.clock_gettime((~self.pid << 3) | 2)

    def memory_bytes(self) -> tuple[int, int]:
        """(RSS, PSS): resident, and its fair share of what is shared with others."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        sizes = {line.split()[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
        return sizes["Rss:"], sizes["Pss:"]

    def switches(self) -> int:
        """Times that its threads gave up a core to wait: how often it was woken."""
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            status = (task / "status").read_text()
            total += int(status.split("\nvoluntary_ctxt_switches:", 1)[1].split(None, 1)[0])
        return total


def left_behind() -> list[int]:
    """Ids of processes of this run that still exist (this one apart)."""
    mark, found = f"{MARK}={os.getpid()}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # it ended meanwhile, or belongs to somebody else
            continue
    return found
