"""This machine's cores, memory and load, as the core wants them. Owns the reading of /proc and cgroups.

Limits of a cgroup (v1 or v2, the one this process is in as it sees it) count where they are smaller than the
machine. Load is smoothed: a node's pull must not jump with every second's noise. CPU is shared, not used up, so
all of it is free but for reservations: a busy minute lowers a node's pull and refuses nothing. Memory is not.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from falak.core.model import Capacity

SMOOTHING: Final = 0.3
"""Weight of the newest second in the load. Larger: follows faster. Smaller: calmer."""
_CGROUP: Final = Path("/sys/fs/cgroup")
_UNLIMITED_BYTES: Final = 2**60
"""cgroup v1 says "no limit" with a number above this."""


def cpu_millis() -> int:
    """Thousandths of a core that this process may use."""
    cores = len(os.sched_getaffinity(0)) * 1000
    v1 = _words(_CGROUP / "cpu/cpu.cfs_quota_us") + _words(_CGROUP / "cpu/cpu.cfs_period_us")
    numbers = [int(word) for word in _words(_CGROUP / "cpu.max") or v1 if word.isdigit()]
    if len(numbers) == 2 and numbers[1]:  # "max" and -1 are no limit
        return max(1, min(cores, numbers[0] * 1000 // numbers[1]))
    return cores


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _first_bytes(path: Path) -> str:
    """The beginning of a file of /proc: it is made anew at each read, so no more is asked for than needed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 256).decode()
    finally:
        os.close(descriptor)


def _meminfo() -> tuple[int, int]:
    """Bytes of memory in all and available (the first and the third line)."""
    lines = _first_bytes(Path("/proc/meminfo")).split("\n", 3)
    return int(lines[0].split()[1]) * 1024, int(lines[2].split()[1]) * 1024


def _cgroup_limit() -> tuple[int, Path] | None:
    """Bytes of the cgroup's limit, and the file that says how much of it is in use; None without a limit."""
    for limit_file, used_file in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        limit = _words(_CGROUP / limit_file)
        if limit and limit[0].isdigit() and int(limit[0]) < _UNLIMITED_BYTES:
            return int(limit[0]), _CGROUP / used_file
    return None


def _cpu_ticks() -> tuple[int, int]:
    """The machine's CPU time since its start: spent, and in all."""
    ticks = [int(word) for word in _first_bytes(Path("/proc/stat")).split("\n", 1)[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


class Sampler:
    """Samples of this machine. Cores and limits are looked up once, for a sample is taken every second."""

    def __init__(self) -> None:
        self._cpu_millis = cpu_millis()
        self._limit = _cgroup_limit()
        self._machine_millis = (os.cpu_count() or 1) * 1000
        self._ticks = _cpu_ticks()
        self._load_millis: float | None = None

    def sample(self) -> Capacity:
        """The capacity now; load since the sample before (the first: as if there were none)."""
        spent, whole = _cpu_ticks()
        before, self._ticks = self._ticks, (spent, whole)
        passed = whole - before[1]
        load = self._machine_millis * (spent - before[0]) / passed if passed else 0.0
        smoothed = (
            load if self._load_millis is None else self._load_millis + SMOOTHING * (load - self._load_millis)
        )
        if passed:
            self._load_millis = smoothed
        load_millis = min(self._cpu_millis, round(smoothed))
        memory, free = self._memory_bytes()
        return Capacity(self._cpu_millis, memory, self._cpu_millis, free, load_millis)

    def _memory_bytes(self) -> tuple[int, int]:
        whole, free = _meminfo()
        if self._limit is None or self._limit[0] >= whole:
            return whole, free
        limit, used_file = self._limit
        used = _words(used_file)
        return limit, max(0, min(free, limit - int(used[0]))) if used else free
