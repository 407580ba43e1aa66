"""What happens to a mesh, by a seed: which node is killed, stopped, started again, with or without its disk.

Pure: a schedule is made before anything runs, so a seed tells the same story again. At no time more than two of
the nodes are away at once, and a node is left alone for a moment after it came back.
"""

from dataclasses import dataclass
from random import Random
from typing import Final

AWAY_MAX: Final = 2
"""Nodes that are down or stopped at once: of five the others are still a majority."""
PAUSE_S: Final = (0.5, 3.0)
"""Between two faults."""
DOWN_S: Final = (0.3, 6.0)
STOPPED_S: Final = (0.2, 5.0)
REST_S: Final = 2.0
"""A node that came back is spared for this long."""
ACTS: Final = ("kill", "kill", "stop", "stop", "lose", "end", "launch")


@dataclass(frozen=True)
class Act:
    """At a time (seconds from the beginning) something happens to a node; ``for_s`` until it is undone."""

    at_s: float
    what: str
    node: int
    for_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.at_s:6.1f} s  {self.what} n{self.node + 1}" + (
            f" for {self.for_s:.1f} s" if self.for_s else ""
        )


def schedule(seed: int, nodes: int, seconds: float) -> list[Act]:
    """Acts in order: ``kill`` (SIGKILL, started again with its disk), ``lose`` (the same without), ``stop``
    (SIGSTOP, then SIGCONT), ``end`` (SIGTERM, started again), ``launch`` (a new generation, at that node)."""
    rng = Random(seed)
    acts: list[Act] = []
    back_at = dict.fromkeys(range(nodes), 0.0)
    now = 1.0
    while now < seconds:
        away = [node for node, at in back_at.items() if at > now]
        free = [node for node, at in back_at.items() if at + REST_S <= now]
        what = rng.choice(ACTS)
        if free and what == "launch":
            acts.append(Act(now, what, rng.choice(free)))
        elif free and len(away) < AWAY_MAX:
            node = rng.choice(free)
            for_s = rng.uniform(*(STOPPED_S if what == "stop" else DOWN_S))
            acts.append(Act(now, what, node, for_s))
            back_at[node] = now + for_s
        now += rng.uniform(*PAUSE_S)
    return acts
