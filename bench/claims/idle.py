"""Claim: an idle node in a mesh of five costs next to nothing.

Measured after the first half minute, in which a new node syncs every second. A round's figure is that of the
node that was worst in it.
"""

from __future__ import annotations

import time
from typing import Final

from bench.figures import Row, Target, alone, spread
from bench.mesh import mesh
from bench.run import Claim, Run

NODES: Final = 5
SETTLE_S: Final = 35.0
ROUND_S: Final = 20.0
MEMORY: Final = Target(key="idle/memory", what="idle node of five, RSS", unit="MB", at_most=60.0)
CPU: Final = Target(key="idle/cpu", what="idle node of five, share of a core", unit="%", at_most=0.5)


def measure(run: Run) -> list[Row]:
    nodes = mesh(run, NODES)
    time.sleep(1.0 if run.quick else SETTLE_S)
    shares, sizes, own_sizes, wakes = [], [], [], []
    for number in range(run.rounds):
        before = [(node.process.cpu_s(), node.process.switches()) for node in nodes]
        started = time.perf_counter()
        time.sleep(2.0 if run.quick else ROUND_S)
        after = [(node.process.cpu_s(), node.process.switches()) for node in nodes]
        lasted = time.perf_counter() - started
        shares.append(max(b[0] - a[0] for a, b in zip(before, after, strict=True)) / lasted * 100)
        wakes.append(max(b[1] - a[1] for a, b in zip(before, after, strict=True)) / lasted)
        memory = [node.process.memory_bytes() for node in nodes]
        sizes.append(max(rss for rss, _ in memory) / 1e6)
        own_sizes.append(max(pss for _, pss in memory) / 1e6)
        run.say(f"  idle round {number + 1}: {shares[-1]:.2f} %, {sizes[-1]:.1f} MB, {wakes[-1]:.0f} wakes/s")
    return [
        alone(MEMORY, spread(sizes), len(sizes), f"worst of five; PSS {spread(own_sizes).middle:.1f} MB"),
        alone(CPU, spread(shares), len(shares), f"worst of five; {spread(wakes).middle:.0f} wake-ups a second"),
    ]


CLAIM: Final = Claim("idle", (MEMORY, CPU), measure)
