"""The shortest history that still breaks: drops actions from a plan for as long as the same invariant breaks.

Delta debugging (Zeller and Hildebrandt, 2002) over the actions, then fewer nodes. Owns no opinion of what
is broken: ``breaks`` tells, and a plan that does not break is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from falak.sim.invariants import Broken
from falak.sim.scenario import Action, Plan, play
from falak.sim.trace import Trace

TRIES_MAX = 150
"""Plans played before shrinking stops where it is."""


def what_breaks(plan: Plan) -> str:
    """How a plan breaks, in the words of the invariant without numbers; "" if it does not."""
    try:
        play(plan)
    except Broken as broken:
        return "".join(c for c in str(broken).split(": ", 1)[-1] if not c.isdigit())[:40]
    except Exception as error:  # the core raised: that breaks too
        return type(error).__name__
    return ""


def shrink(plan: Plan, breaks: Callable[[Plan], bool] | None = None) -> Plan:
    """The plan without what it does not need in order to break the way it does."""
    how = what_breaks(plan) if breaks is None else ""
    still = breaks or (lambda smaller: what_breaks(smaller) == how)
    if breaks is None and not how:
        return plan
    tries = [0]

    def holds(actions: tuple[Action, ...], nodes: int) -> bool:
        tries[0] += 1
        return tries[0] <= TRIES_MAX and still(replace(plan, actions=actions, nodes=nodes))

    actions = _shortest(plan.actions, lambda some: holds(some, plan.nodes))
    nodes = next((n for n in range(1, plan.nodes) if holds(actions, n)), plan.nodes)
    return replace(plan, actions=actions, nodes=nodes)


def _shortest(actions: tuple[Action, ...], holds: Callable[[tuple[Action, ...]], bool]) -> tuple[Action, ...]:
    size = max(1, len(actions) // 2)
    while True:
        at, dropped = 0, False
        while at < len(actions):
            rest = actions[:at] + actions[at + size :]
            if holds(rest):
                actions, dropped = rest, True
            else:
                at += size
        if size > 1:
            size //= 2
        elif not dropped:
            return actions


def story(plan: Plan, lines_max: int = 200) -> str:
    """What a reader needs of a broken plan: the shortest one, how it breaks, the end of its trace."""
    shortest = shrink(plan)
    traces: list[Trace] = []
    end = "it holds when played again"
    try:
        play(shortest, lambda world: traces.append(Trace(world)))
    except Exception as error:
        end = f"{type(error).__name__}: {error}"
    lines = traces[0].lines[-lines_max:] if traces else []
    return "\n".join([str(shortest), *lines, end])
