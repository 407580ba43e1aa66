"""Claim: asking a node for a copy that another node has adds little to asking the node that has it.

One client with a kept connection to each of the two asks them in turn, so both see the same machine. What is
compared is the time to the last byte, quantile by quantile: added p99 is p99 of forwarded requests less p99 of
local ones.
"""

from __future__ import annotations

from typing import Final

from bench.figures import Row, Target, alone, quantile, spread
from bench.http import Connection
from bench.mesh import launch, mesh, until
from bench.run import HELLO, Claim, Run

NODES: Final = 3
PAIRS: Final = 3000
WARM_UP: Final = 200
P50: Final = Target(key="forward/p50", what="copy on another node, added p50", unit="ms", at_most=0.25)
P99: Final = Target(key="forward/p99", what="copy on another node, added p99", unit="ms", at_most=1.0)


def measure(run: Run) -> list[Row]:
    nodes = mesh(run, NODES)
    launch(nodes[0], HELLO, "hello", call=True)
    holders = [row["node"] for row in nodes[0].client.ps()["rows"]]
    assert len(holders) == 1, f"one copy was expected, not {holders}"
    holder = next(node for node in nodes if node.name == holders[0])
    other = next(node for node in nodes if node is not holder)
    here, there = Connection(holder.http), Connection(other.http)
    until("the first answer through the other node", lambda: there.get("hello.localhost").status == 200)
    locals_ms: list[list[float]] = []
    forwards_ms: list[list[float]] = []
    for number in range(run.rounds):
        pairs = PAIRS // 10 if run.quick else PAIRS
        local, forward = ask_in_turn(here, there, pairs + WARM_UP)
        locals_ms.append(local[WARM_UP:])
        forwards_ms.append(forward[WARM_UP:])
        run.say(
            f"  forward round {number + 1}: p50 {quantile(locals_ms[-1], 0.5):.3f} -> "
            f"{quantile(forwards_ms[-1], 0.5):.3f} ms, p99 {quantile(locals_ms[-1], 0.99):.3f} -> "
            f"{quantile(forwards_ms[-1], 0.99):.3f} ms"
        )
    return [row(target, share, locals_ms, forwards_ms) for target, share in ((P50, 0.5), (P99, 0.99))]


def ask_in_turn(here: Connection, there: Connection, pairs: int) -> tuple[list[float], list[float]]:
    """Times in ms of the same request at both, the first of each pair changing."""
    times: dict[Connection, list[float]] = {here: [], there: []}
    for number in range(pairs):
        for connection in (here, there) if number % 2 else (there, here):
            answer = connection.get("hello.localhost")
            assert answer.status == 200, answer
            times[connection].append(answer.whole_s * 1000)
    return times[here], times[there]


def row(target: Target, share: float, here_ms: list[list[float]], there_ms: list[list[float]]) -> Row:
    here = [quantile(times, share) for times in here_ms]
    there = [quantile(times, share) for times in there_ms]
    added = [ours - theirs for ours, theirs in zip(there, here, strict=True)]
    middle_here, middle_there = spread(here).middle, spread(there).middle
    note = f"p{share * 100:.0f} local {middle_here:.3f} ms, forwarded {middle_there:.3f} ms"
    return alone(target, spread(added), len(added), f"{note}; {len(here_ms[0])} requests each a round")


CLAIM: Final = Claim("forward", (P50, P99), measure)
