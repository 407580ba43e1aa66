"""How long an election takes and what it costs, in virtual time over the shipped core; nothing here is timed.

    python -m pytest tests/simulation/test_elections.py -s        prints the table of docs/decisions/0004

A row: ``runs`` capsules that run nowhere are each asked for at ``callers`` nodes at once; the round trip is
0.5 ms, and 1 % of the messages meet a loop that is busy for 2 to 8 ms. *Elected* is from the first request to the
winner's knowing; *answered* to the last caller's answer (a copy takes 1.5 ms to start, beside the election).
Messages, those of a node to itself included, and starts are counted until everything is quiet.
"""

from dataclasses import dataclass, field

import pytest

from falak.core import effects as ef
from falak.core import wire
from falak.core.node import Place
from falak.sim.network import Weather
from falak.sim.world import Lost, Own, Seen, World

COUNTED = (
    wire.Call, wire.Heard, wire.Holders, wire.Unknown, wire.Refused, wire.Look, wire.Saw, wire.Summon,
    wire.Decline, wire.Withdrawn, wire.Proceed, wire.Propose, wire.Voted, wire.Won,
)  # fmt: skip
"""An election's messages. Claims and their acknowledgements come on top."""
CLAIMS = (wire.Claimed, wire.ClaimHeard, wire.Released, wire.Outclaimed)


@dataclass
class Measured:
    """What one row's runs came to."""

    elected_ms: list[float] = field(default_factory=list)
    answered_ms: list[float] = field(default_factory=list)
    messages: int = 0
    claims: int = 0
    starts: int = 0
    winners: int = 0
    two_winners: int = 0

    def row(self, label: str) -> str:
        runs = len(self.elected_ms)
        elected = f"{share(self.elected_ms, 50):.1f} / {share(self.elected_ms, 99):.1f}"
        answered = f"{share(self.answered_ms, 50):.1f} / {share(self.answered_ms, 99):.1f}"
        counts = f"{self.messages / runs:.1f} | {self.claims / runs:.1f} | {self.starts / runs:.2f}"
        return f"| {label} | {runs} | {elected} | {answered} | {counts} | {self.two_winners} |"


HEAD = (
    "| nodes, callers, late messages | runs | elected p50 / p99 ms | answered p50 / p99 ms | messages"
    " | of claims | starts | runs with two winners |\n|---|---|---|---|---|---|---|---|"
)


def share(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def measure(nodes: int, callers: int, runs: int, weather: Weather, seed: int) -> Measured:
    world = World(seed, weather)
    world.mesh(nodes, Place())
    measured = Measured()
    names = [f"c{i}" for i in range(runs)]
    for name in names:
        assert not world.launch("n1", name).why
    world.run(1.0)

    def watch(host: str, what: Seen) -> None:
        message = what.message if isinstance(what, ef.Send | Own) else None
        measured.messages += isinstance(message, COUNTED) and not isinstance(what, Lost)
        measured.claims += isinstance(message, CLAIMS)
        measured.starts += isinstance(what, ef.Start)

    world.tracer = watch
    for name in names:
        election(world, measured, name, callers)
    return measured


def election(world: World, measured: Measured, name: str, callers: int) -> None:
    began, seen = world.now, len(world.notes)
    at = world.rng.sample(sorted(world.hosts), callers)
    requests = [world.request(node, f"{name}.localhost") for node in at]
    world.run(0.6)
    won = [at for at, _, note in world.notes[seen:] if note.event == "election.won"]
    assert won and all(request.status == 200 for request in requests), [r.outcome for r in requests]
    measured.elected_ms.append((won[0] - began) * 1000)
    measured.answered_ms.append((max(r.ended_at for r in requests) - began) * 1000)
    measured.winners += len(won)
    measured.two_winners += len(won) > 1


FAIR = Weather(stall=0.01)
FOUL = Weather(stall=0.01, retransmit=0.02)
ROWS = [
    ("5, 1, -", 5, 1, 200, FAIR),
    ("5, 5, -", 5, 5, 100, FAIR),
    ("5, 1, 2 % of 200 ms", 5, 1, 100, FOUL),
    ("5, 5, 2 % of 200 ms", 5, 5, 100, FOUL),
    ("3, 1, -", 3, 1, 100, FAIR),
    ("2, 1, -", 2, 1, 100, FAIR),
    ("1, 1, -", 1, 1, 100, FAIR),
    ("100, 10, -", 100, 10, 15, FAIR),
]


@pytest.mark.parametrize(("label", "nodes", "callers", "runs", "weather"), ROWS, ids=[row[0] for row in ROWS])
def test_elections(label: str, nodes: int, callers: int, runs: int, weather: Weather) -> None:
    measured = measure(nodes, callers, runs, weather, seed=nodes * 100 + callers)
    print(f"\n{HEAD}\n{measured.row(label)}")
    assert measured.two_winners == 0
    assert measured.winners == runs
    if weather is FAIR:
        assert share(measured.elected_ms, 50) <= 4.0
        assert share(measured.elected_ms, 99) <= 15.0
        assert measured.starts / runs <= 1.3
