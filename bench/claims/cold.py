"""Claim: a capsule that runs nowhere answers its first request within milliseconds, election included.

Five nodes. Every trial is a capsule of its own with content of its own (the example with a custom section
that no other has), so nothing that one trial loaded serves another. Before the requests come, every node has
compiled it. A request goes to a node drawn at random; the time is from its writing to the first byte of the
answer. Beside it: `wasmtime serve` with the same component compiled ahead, from its spawn to the first byte.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Final

from bench.figures import Row, Target, against, alone, pooled, quantile
from bench.http import Connection
from bench.mesh import Node, launch, mesh, until
from bench.peers import Wasmtime
from bench.run import HELLO, Claim, Run

NODES: Final = 5
TRIALS: Final = 40
"""A round: five rounds are 200 trials."""
PEER_TRIALS: Final = 10
LAUNCHES_AT_ONCE: Final = 4
PREPARED_S: Final = 300.0
BETWEEN_S: Final = 0.02
"""Between two trials: one must not wait for what another still has to say to the electors."""
P50: Final = Target(key="cold/p50", what="cold request, first byte, p50", unit="ms", at_most=5.0)
P99: Final = Target(key="cold/p99", what="cold request, first byte, p99", unit="ms", at_most=15.0)
BESIDE: Final = Target(key="cold/peer", what="cold request p50; peer from spawn, compiled ahead", unit="ms")


def measure(run: Run) -> list[Row]:
    wasmtime = Wasmtime(run)
    compiled = wasmtime.compile(HELLO)
    random = Random(run.rounds)
    nodes = mesh(run, NODES)
    times_ms: list[list[float]] = []
    peer_ms: list[list[float]] = []
    for number in range(run.rounds):
        trials = 5 if run.quick else TRIALS
        names = [f"c{number}-{trial}" for trial in range(trials)]
        publish(run, nodes, names)
        times_ms.append(ask_first(nodes, names, random))
        peer_ms.append([spawn_and_ask(run, wasmtime, compiled) for _ in range(PEER_TRIALS)])
        run.say(
            f"  cold round {number + 1}: p50 {quantile(times_ms[-1], 0.5):.2f}, "
            f"p90 {quantile(times_ms[-1], 0.9):.2f}, worst {max(times_ms[-1]):.2f} ms; "
            f"peer {quantile(peer_ms[-1], 0.5):.2f} ms"
        )
    note = f"{sum(map(len, times_ms))} trials, each a capsule with content of its own, on {NODES} nodes"
    ours, theirs = ([quantile(times, 0.5) for times in side] for side in (times_ms, peer_ms))
    return [
        alone(P50, pooled(times_ms, 0.5), run.rounds, note),
        alone(P99, pooled(times_ms, 0.99), run.rounds, note),
        against(BESIDE, ours, theirs, wasmtime.name("from spawn")),
    ]


def publish(run: Run, nodes: Sequence[Node], names: Sequence[str]) -> None:
    """Launch a capsule a name without calling it, and wait until every node could start it at once."""

    def one(at: int) -> None:
        component = run.folder / f"{names[at]}.wasm"
        component.write_bytes(marked(HELLO.read_bytes(), names[at]))
        launch(nodes[at % len(nodes)], component, names[at], call=False)

    with ThreadPoolExecutor(LAUNCHES_AT_ONCE) as pool:
        list(pool.map(one, range(len(names))))
    until(
        "every node has all of them compiled",
        lambda: all(set(names) <= prepared(node) for node in nodes),
        within_s=PREPARED_S,
        pause_s=0.25,
    )


def marked(component: bytes, name: str) -> bytes:
    """The component with one more custom section: other content, the same behaviour. Names below 100 bytes."""
    text = name.encode()
    content = bytes([len(text)]) + text
    return component + bytes([0, len(content)]) + content


def prepared(node: Node) -> set[str]:
    return {row["name"] for row in node.client.capsules() if row["artifact"] == "prepared"}


def ask_first(nodes: Sequence[Node], names: Sequence[str], random: Random) -> list[float]:
    """The first request of every capsule, at a node drawn at random: ms to the first byte."""
    connections = [Connection(node.http) for node in nodes]
    times_ms = []
    for name in names:
        answer = random.choice(connections).get(f"{name}.localhost")
        assert answer.status == 200, f"{name}: {answer}"
        times_ms.append(answer.first_byte_s * 1000)
        time.sleep(BETWEEN_S)
    for connection in connections:
        connection.close()
    return times_ms


def spawn_and_ask(run: Run, wasmtime: Wasmtime, compiled: Path) -> float:
    """ms from the spawn of a server to the first byte of its first answer."""
    process, address = wasmtime.serve(compiled, ["--allow-precompiled"])
    connection = Connection(address)
    answer = connection.get("hello.localhost")
    ended = time.perf_counter() - (answer.whole_s - answer.first_byte_s)
    connection.close()
    run.end(process)
    return (ended - process.started) * 1000


CLAIM: Final = Claim("cold", (P50, P99, BESIDE), measure)
