"""Claim: `falak ps` answers for the whole mesh in a quarter of a second, the command's own start included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from bench.figures import Row, Target, alone, quantile, spread
from bench.mesh import FALAK, launch, mesh
from bench.run import HELLO, Claim, Run

NODES: Final = 5
CAPSULES: Final = 3
COMMANDS: Final = 5
"""A round, one after the other; the round's figure is their median."""
WHOLE: Final = Target(key="ps/whole", what="`falak ps`, five nodes, whole command", unit="s", at_most=0.25)


def measure(run: Run) -> list[Row]:
    nodes = mesh(run, NODES)
    for number in range(CAPSULES):
        launch(nodes[number], HELLO, f"hello-{number}", call=True)
    command: list[str | Path] = [FALAK, "ps", "--json", "--data", nodes[-1].data]
    assert len(json.loads(run.output(command))) == CAPSULES
    rounds = []
    for number in range(run.rounds):
        times = []
        for _ in range(1 if run.quick else COMMANDS):
            process = run.start(command)
            process.succeeded(30.0)
            times.append(process.lasted_s())
            run.end(process)
        rounds.append(quantile(times, 0.5))
        run.say(f"  ps round {number + 1}: {', '.join(f'{time:.3f}' for time in times)} s")
    return [alone(WHOLE, spread(rounds), len(rounds), f"{CAPSULES} copies listed, as JSON")]


CLAIM: Final = Claim("ps", (WHOLE,), measure)
