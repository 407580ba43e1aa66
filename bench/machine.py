"""What a figure was measured on, without anything that names the machine or its owner."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from falak import __version__

ROOT = Path(__file__).resolve().parents[1]


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where and when: ``commit`` ends in ``+`` when the tree had changes that are in no commit."""

    date: str
    commit: str
    falak: str
    python: str
    system: str
    processor: str
    cores: int
    memory_gib: int


def here() -> Machine:
    kernel = ".".join(platform.release().split(".")[:2])
    return Machine(
        date=datetime.now(UTC).date().isoformat(),
        commit=commit(),
        falak=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {kernel}, {platform.machine()}",
        processor=processor(Path("/proc/cpuinfo").read_text()),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
    )


def busy_s(stat: str) -> float:
    """CPU seconds of the whole machine since its start, out of ``/proc/stat``: neither idle nor waiting."""
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, stat.split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def processor(cpuinfo: str) -> str:
    """The model's name out of ``/proc/cpuinfo``."""
    for line in cpuinfo.splitlines():
        if line.startswith(("model name", "Model")):
            return " ".join(line.partition(":")[2].split())
    return "a processor that does not say its name"


def commit() -> str:
    """The short id of the commit; "unknown" without git or outside a clone."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
