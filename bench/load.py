"""Load from wrk: many keep-alive connections from one pinned core. It measures nothing of the server's."""

from __future__ import annotations

import re
import shutil
from typing import Final, NamedTuple

from bench.run import Run

CONNECTIONS: Final = 32
TIMEOUT_S: Final = 10
"""An answer that takes longer fails the run. wrk's own 2 s are reached where much else runs."""
UNITS_US: Final = {"us": 1.0, "ms": 1e3, "s": 1e6}


class Load(NamedTuple):
    requests: int
    rate_s: float
    p50_us: float
    p99_us: float


def wrk(run: Run, address: str, host: str, seconds: int) -> Load:
    """Drive ``CONNECTIONS`` connections for a time. Raises ``RuntimeError`` when an answer was no 2xx, a
    socket failed, or wrk is missing: a figure of refused requests would be a good one."""
    program = shutil.which("wrk")
    if program is None:
        raise RuntimeError("wrk is not on PATH: `make tools` brings it (Debian's package wrk)")
    command = [
        program,
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{seconds}s",
        f"--timeout={TIMEOUT_S}s",
        "--latency",
        "-H",
        f"Host: {host}",
    ]
    return read(run.output([*command, f"http://{address}/"], within_s=seconds + 30.0, cpus=run.load_cpus))


def read(text: str) -> Load:
    """What wrk printed. Raises ``RuntimeError`` when requests failed or the text is not wrk's."""
    if failed := re.search(r"Non-2xx.*|Socket errors.*", text):
        raise RuntimeError(f"requests of wrk failed: {failed[0]}")
    count = re.search(r"(\d+) requests in", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    tail = dict(re.findall(r"^ +(50|99)%\s+(\S+) *$", text, re.MULTILINE))
    if count is None or rate is None or len(tail) != 2:
        raise RuntimeError(f"this is not what wrk prints: {text[-300:]}")
    return Load(int(count[1]), float(rate[1]), microseconds(tail["50"]), microseconds(tail["99"]))


def microseconds(text: str) -> float:
    """``1.25ms`` in µs."""
    found = re.fullmatch(r"([\d.]+)(us|ms|s)", text)
    if found is None:
        raise RuntimeError(f"this is not a time of wrk: {text}")
    return float(found[1]) * UNITS_US[found[2]]
