"""Claim: twenty nodes started in the same moment all list one another within two seconds.

A seed is there, for the ticket; then twenty commands are spawned at once. The time ends when every one of them,
asked through its control socket after all are ready, has listed all as alive and linked.
"""

from __future__ import annotations

import time
from typing import Final

from bench.figures import Row, Target, alone, spread
from bench.mesh import Node, all_list, end
from bench.run import Claim, Run

NODES: Final = 20
LIST: Final = Target(key="crowd/list", what="20 nodes at once, all list all", unit="s", at_most=2.0)


def measure(run: Run) -> list[Row]:
    times, ready_s, cpu_s = [], [], []
    for number in range(run.rounds):
        count = 5 if run.quick else NODES
        seed = Node(run, "seed")
        seed.ready()
        started = time.perf_counter()
        nodes = [Node(run, f"n{at}", [seed.ticket]) for at in range(count)]
        ready_s.append(max(node.ready() + node.process.started - started for node in nodes))
        all_list([*nodes, seed], count + 1)
        times.append(time.perf_counter() - started)
        cpu_s.append(sum(node.process.cpu_s() for node in nodes))
        run.say(f"  crowd round {number + 1}: {times[-1]:.2f} s, ready after {ready_s[-1]:.2f} s")
        end(run, [*nodes, seed])
    note = (
        f"all ready after {spread(ready_s).middle:.2f} s; {spread(cpu_s).middle / count:.2f} s of CPU a node, "
        f"{spread(cpu_s).middle:.1f} s in all"
    )
    return [alone(LIST, spread(times), len(times), note)]


CLAIM: Final = Claim("crowd", (LIST,), measure)
