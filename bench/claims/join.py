"""Claim: a new node joins a mesh of four, from the command's spawn until it serves, in a third of a second."""

from __future__ import annotations

from typing import Final

from bench.figures import Row, Target, alone, quantile, spread
from bench.mesh import Node, all_list, mesh
from bench.run import Claim, Run

MEMBERS: Final = 4
JOINS: Final = 5
"""A round, one after the other; the round's figure is their median."""
READY: Final = Target(key="join/ready", what="`falak up` to ready, joining four", unit="s", at_most=0.35)


def measure(run: Run) -> list[Row]:
    nodes = mesh(run, MEMBERS)
    rounds, cpu_s = [], []
    for number in range(run.rounds):
        times = []
        for turn in range(1 if run.quick else JOINS):
            joining = Node(run, f"j{number}-{turn}", [nodes[0].ticket])
            times.append(joining.ready())
            cpu_s.append(joining.process.cpu_s())
            run.end(joining.process)
            all_list(nodes, MEMBERS)
        rounds.append(quantile(times, 0.5))
        run.say(f"  join round {number + 1}: {', '.join(f'{time:.3f}' for time in times)} s")
    note = f"of it {quantile(cpu_s, 0.5):.2f} s of CPU in the new node's own process"
    return [alone(READY, spread(rounds), len(rounds), note)]


CLAIM: Final = Claim("join", (READY,), measure)
