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
    quota, period = (
        _words(_CGROUP / "cpu.max")
        or (_words(_CGROUP / "cpu/cpu.cfs_quota_us") + _words(_CGROUP / "cpu/cpu.cfs_period_us"))
        or ["max", "1"]
    )
    if quota.isdigit() and period.isdigit() and int(period):
        return max(1, min(cores, int(quota) * 1000 // int(period)))
    return cores


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _meminfo() -> tuple[int, int]:
    """Bytes of memory in all and available."""
    found = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("MemTotal", "MemAvailable"):
            found[name] = int(rest.split()[0]) * 1024
    return found["MemTotal"], found["MemAvailable"]


def _cgroup_memory() -> tuple[int, int] | None:
    """Bytes of the cgroup's limit and in use; None where it has no limit."""
    for limit_file, used_file in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        limit, used = _words(_CGROUP / limit_file), _words(_CGROUP / used_file)
        if limit and used and limit[0].isdigit() and int(limit[0]) < _UNLIMITED_BYTES:
            return int(limit[0]), int(used[0])
    return None


def memory_bytes() -> tuple[int, int]:
    """Bytes of memory that this process may use, and how many of them are free."""
    whole, free = _meminfo()
    limited = _cgroup_memory()
    if limited and limited[0] < whole:
        return limited[0], max(0, min(free, limited[0] - limited[1]))
    return whole, free


def _cpu_ticks() -> tuple[int, int]:
    """The machine's CPU time since its start: spent, and in all."""
    with open("/proc/stat") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


class Sampler:
    """Samples of this machine. Cores are looked up once."""

    def __init__(self) -> None:
        self._cpu_millis = cpu_millis()
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
        memory, free = memory_bytes()
        return Capacity(self._cpu_millis, memory, self._cpu_millis, free, load_millis)
