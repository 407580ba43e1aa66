"""Claim: a warm request costs a fraction of the CPU that it costs under ``wasmtime serve``.

The same component (`examples/hello`), a fresh instance for every request on both sides. The server has one
core, wrk the other; what is read is the CPU time of the server's whole process, its idle work included.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

from bench import load
from bench.figures import Row, Target, against
from bench.http import Connection
from bench.mesh import Node, launch
from bench.peers import TUNED, Wasmtime
from bench.processes import Process
from bench.run import HELLO, Claim, Run

HOST: Final = "hello.localhost"
ROUND_S: Final = 4
DEFAULT: Final = Target(
    key="warm/default", what="warm request, CPU; peer as it comes", unit="µs", at_most=0.4, of="ratio"
)
TUNED_POOL: Final = Target(
    key="warm/tuned", what="warm request, CPU; peer's pool tuned", unit="µs", at_most=0.6, of="ratio"
)


def measure(run: Run) -> list[Row]:
    wasmtime = Wasmtime(run)
    falak = Node(run, "n1", cpus=run.server_cpus)
    falak.ready()
    launch(falak, HELLO, "hello", call=True)
    servers = {
        "falak": (falak.process, falak.http),
        "default": wasmtime.serve(HELLO, cpus=run.server_cpus),
        "tuned": wasmtime.serve(HELLO, TUNED, cpus=run.server_cpus),
    }
    answers = {name: Connection(address).get(HOST, "/same").body for name, (_, address) in servers.items()}
    assert len(set(answers.values())) == 1, f"the servers do not answer alike: {answers}"
    cpu_us: dict[str, list[float]] = {name: [] for name in servers}
    loads: dict[str, list[load.Load]] = {name: [] for name in servers}
    for number in range(-1, run.rounds):  # the first warms caches up and is not counted
        order = list(servers) if number % 2 else list(reversed(servers))
        for name in order:
            used, driven = drive(run, *servers[name], 1 if number < 0 or run.quick else ROUND_S)
            run.say(f"  warm {name}: {used:.1f} µs, {driven.rate_s:.0f}/s, p99 {driven.p99_us:.0f} µs")
            if number >= 0:
                cpu_us[name].append(used)
                loads[name].append(driven)
    note = f"requests/s of one core, p50/p99 at c={load.CONNECTIONS}: Falak {told(loads['falak'])}, peer "
    return [
        against(target, cpu_us["falak"], cpu_us[name], wasmtime.name(how), note + told(loads[name]))
        for target, name, how in ((DEFAULT, "default", ""), (TUNED_POOL, "tuned", "pool tuned"))
    ]


def drive(run: Run, server: Process, address: str, seconds: int) -> tuple[float, load.Load]:
    """CPU µs a request of the server under load, and what wrk saw."""
    before = server.cpu_s()
    driven = load.wrk(run, address, HOST, seconds)
    return (server.cpu_s() - before) * 1e6 / driven.requests, driven


def told(loads: Sequence[load.Load]) -> str:
    rate, p50, p99 = (median(each) for each in list(zip(*loads, strict=True))[1:])
    return f"{rate / 1000:.1f}k, {p50 / 1000:.2f}/{p99 / 1000:.2f} ms"


CLAIM: Final = Claim("warm", (DEFAULT, TUNED_POOL), measure)
