"""Claim: when the node that runs a capsule is killed, others answer within milliseconds and no request is lost.

Five nodes; the capsule's holder is killed (SIGKILL) under 100 requests a second that come in at the other four.
The figure is from the kill to the end of the first answered request that began after it, so it has the load's own
pace of 10 ms in it. Every request that was accepted by a living node must be answered with 200. The killed node
starts again in its folder before the next kill. Beside it: Serf, from a member's SIGKILL until the first of four
others logs that it failed. (Serf starts nothing elsewhere: it is only the noticing.)
"""

from __future__ import annotations

import time
from typing import Final

from bench.figures import Row, Target, against, alone, pooled, quantile
from bench.mesh import Node, all_list, launch, mesh, until
from bench.run import HELLO, Claim, Run
from bench.serf import first_notice_s, version
from falak.demo.load import Asked, Steady

NODES: Final = 5
KILLS: Final = 6
"""A round: five rounds are 30 kills."""
RATE_S: Final = 100.0
BEFORE_S: Final = 0.5
AFTER_S: Final = 1.5
NAME: Final = "hello"
P50: Final = Target(
    key="failover/p50", what="holder killed: next answer from elsewhere, p50", unit="ms", at_most=50.0
)
P99: Final = Target(key="failover/p99", what="the same, p99", unit="ms", at_most=300.0)
LOST: Final = Target(key="failover/lost", what="requests lost at living nodes", unit="of all", at_most=0.0)
SERF: Final = Target(
    key="failover/serf",
    what="holder killed: next answer; peer's first notice",
    unit="ms",
    at_most=0.02,
    of="ratio",
)


def measure(run: Run) -> list[Row]:
    serf = f"serf {version(run)}, five agents, as it comes"
    nodes = mesh(run, NODES)
    launch(nodes[0], HELLO, NAME, call=True)
    times_ms: list[list[float]] = []
    notices_ms: list[float] = []
    lost: list[Asked] = []
    total, longest_ms = 0, 0.0
    for number in range(run.rounds):
        rounds_ms = []
        for _ in range(1 if run.quick else KILLS):
            next_ms, asked = kill_holder(run, nodes)
            rounds_ms.append(next_ms)
            lost.extend(one for one in asked if one.status != 200)
            total += len(asked)
            longest_ms = max([longest_ms, *((one.ended_s - one.began_s) * 1000 for one in asked)])
        times_ms.append(rounds_ms)
        notices_ms.append(first_notice_s(run, NODES) * 1000)
        run.say(
            f"  failover round {number + 1}: {', '.join(f'{ms:.0f}' for ms in rounds_ms)} ms; "
            f"serf {notices_ms[-1]:.0f} ms; lost {lost}"
        )
    note = (
        f"{sum(map(len, times_ms))} kills under {RATE_S:g} requests/s; the longest request {longest_ms:.0f} ms"
    )
    return [
        alone(P50, pooled(times_ms, 0.5), run.rounds, note),
        alone(P99, pooled(times_ms, 0.99), run.rounds, note),
        alone(
            LOST, pooled([[float(len(lost))]], 0.5), run.rounds, f"of {total} requests; {lost[:3] or 'none'}"
        ),
        against(SERF, [quantile(one, 0.5) for one in times_ms], notices_ms, serf),
    ]


def kill_holder(run: Run, nodes: list[Node]) -> tuple[float, list[Asked]]:
    """Kill whoever runs the capsule and start it again: ms to the next answer, and all that was asked."""
    holder = holder_of(nodes)
    others = [node for node in nodes if node is not nodes[holder]]
    load = Steady([(node.name, node.http) for node in others], f"{NAME}.localhost", "/", RATE_S)
    load.start()
    time.sleep(BEFORE_S)
    killed = time.monotonic()
    nodes[holder].process.kill()
    time.sleep(AFTER_S)
    asked = load.stop()
    answered = [one.ended_s for one in asked if one.began_s >= killed and one.status == 200]
    assert answered, f"nobody answered after the kill: {asked[-5:]}"
    nodes[holder] = Node(run, nodes[holder].name, [others[0].ticket], data=nodes[holder].data)
    nodes[holder].ready()
    all_list(nodes, NODES)
    return (min(answered) - killed) * 1000, asked


def holder_of(nodes: list[Node]) -> int:
    """Which of the nodes runs the capsule, once exactly one does."""
    names: list[str] = []

    def runs() -> bool:
        names[:] = [row["node"] for row in nodes[0].client.ps(5.0)["rows"] if row["state"] == "active"]
        return len(names) == 1

    until("one node runs it", runs)
    return next(at for at, node in enumerate(nodes) if node.name == names[0])


CLAIM: Final = Claim("failover", (P50, P99, LOST, SERF), measure)
