"""Random histories by number: a plan of actions drawn from a seed, played in a world, its invariants held.

Owns what can happen in such a history. Every action is harmless where it does not apply (a crash of a node that
is down does nothing), so any part of a plan is a plan again: that is what ``shrink`` lives on.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from falak.core import events as ev
from falak.core.model import Scale
from falak.core.settings import Settings
from falak.sim import invariants
from falak.sim.host import StartFault
from falak.sim.network import Weather
from falak.sim.world import World, capsule

QUIET_S = 25.0
"""After this long without any action everything that was under way has ended."""
PAUSES_S = (0.0, 0.0005, 0.002, 0.02, 0.1, 0.5, 3.0)


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that happens: ``what`` is a key of ``ACTIONS``, the rest is as that one needs it."""

    what: str
    node: str = ""
    capsule: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        words = [self.what, self.node, self.capsule, f"{self.seconds:g} s" if self.seconds else ""]
        return " ".join(word for word in words if word)


@dataclass(frozen=True, slots=True)
class Plan:
    """A history to be played: the world's seed, how many nodes it begins with, the network, what happens."""

    seed: int
    nodes: int
    weather: Weather
    actions: tuple[Action, ...]

    def __str__(self) -> str:
        return "\n".join([f"seed {self.seed}: {self.nodes} nodes, {self.weather}", *map(str, self.actions)])


# --- drawing --------------------------------------------------------------------------------------------------


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    rng = random.Random(seed * 7919 + 1)
    count = rng.choice([1, 2, 2, 3, 3, 4, 5, 5, 5, 6, 7, 9])
    nodes = [f"n{i}" for i in range(1, count + 1)]
    capsules = [f"c{i}" for i in range(rng.randint(1, 5))]
    actions = [Action("launch", rng.choice(nodes), name) for name in capsules]
    for _ in range(rng.randint(5, 30)):
        actions.append(_draw_action(rng, nodes, capsules))
        actions.append(Action("wait", seconds=rng.choice(PAUSES_S)))
    return Plan(seed, count, _draw_weather(rng), tuple(actions))


def _draw_weather(rng: random.Random) -> Weather:
    return Weather(
        rtt_s=rng.choice([0.0005, 0.0005, 0.04]),
        stall=rng.choice([0.01, 0.05]),
        retransmit=rng.choice([0.0, 0.0, 0.02]),
        reorder=rng.choice([0.0, 0.0, 0.1]),
        duplicate=rng.choice([0.0, 0.0, 0.05]),
        loss=rng.choice([0.0, 0.0, 0.0, 0.02, 0.1]),
        tear=rng.choice([0.0, 0.0, 0.0, 0.01]),
    )


def _draw_action(rng: random.Random, nodes: list[str], capsules: list[str]) -> Action:
    kinds = ["request"] * 14 + ["crash"] * 2 + ["restart"] * 3 + ["fault", "cure", "kill", "launch", "pause"]
    kinds += ["cut", "heal", "leave"] if len(nodes) > 1 else []
    seconds = rng.choice([0.004, 0.05, 0.3, 1.5])
    return Action(rng.choice(kinds), rng.choice(nodes), rng.choice(capsules), seconds)


def draw_orbits(seed: int) -> Plan:
    """The plan of a seed with capsules that are withdrawn, rolled back and launched anew in it, and disks lost."""
    plan = draw(seed)
    rng = random.Random(seed * 130_363 + 5)
    actions = list(plan.actions)
    nodes = [f"n{i}" for i in range(1, plan.nodes + 1)]
    names = sorted({action.capsule for action in actions if action.what == "launch"})
    for _ in range(rng.randint(3, 8)):
        what = rng.choice(["withdraw", "withdraw", "roll_back", "launch", "launch", "wipe"])
        action = Action(what, rng.choice(nodes), rng.choice(names))
        actions.insert(rng.randint(len(names), len(actions)), action)
    return Plan(plan.seed, plan.nodes, plan.weather, tuple(actions))


def draw_moves(seed: int) -> Plan:
    """The plan of a seed with copies that move in it: nodes that drain and serve again, gateways that are crowded.
    (Apart from ``draw``, so that the histories of seeds that once broke something stay what they were.)"""
    plan = draw(seed)
    rng = random.Random(seed * 104_729 + 3)
    actions = list(plan.actions)
    nodes = [f"n{i}" for i in range(1, plan.nodes + 1)]
    names = sorted({action.capsule for action in actions if action.what == "launch"})
    for _ in range(rng.randint(3, 12)):
        what = rng.choice(["drain", "undrain", "crowd", "crowd"])
        moved = Action(what, rng.choice(nodes), rng.choice(names))
        actions.insert(rng.randint(len(names), len(actions)), moved)
    return replace(plan, actions=tuple(actions))


# --- playing --------------------------------------------------------------------------------------------------


def play(plan: Plan, watch: Callable[[World], object] = lambda world: None) -> World:
    """Carry a plan out, let it come to rest, and hold every invariant. Raises ``invariants.Broken``.
    ``watch`` is given the world before anything happens (for a trace)."""
    world = World(plan.seed, plan.weather, Settings(start_s=6.0))
    watch(world)
    try:
        world.mesh(plan.nodes)
    except AssertionError as error:
        raise invariants.Broken(str(error)) from None
    for action in plan.actions:
        ACTIONS[action.what](world, action)
    rest(world)
    return world


def rest(world: World) -> None:
    """End every disturbance, wait until nothing is under way, and hold what must hold then."""
    world.heal()
    world.network.weather = replace(world.network.weather, loss=0.0, tear=0.0)
    for host in world.hosts.values():
        host.resume()
        host.step(ev.Drain(False))
    world.run(QUIET_S)
    invariants.requests_end(world)
    invariants.quiet(world)


def _launch(world: World, action: Action) -> None:
    """A first launch is waited for, a later one (with a new version) goes on beside what follows."""
    host = world.hosts[action.node]
    if not host.answers or not host.joined:
        return
    version = str(sum(1 for p in world.publications.values() if p.name == action.capsule) + 1)
    scale = Scale(0, 3, 4) if action.capsule.endswith("1") else Scale()
    request = world.publish(action.node, capsule(action.capsule, version=version, scale=scale))
    if version == "1":
        world.run_until(lambda: world.published_yet(request), 25.0)


def _request(world: World, action: Action) -> None:
    if world.hosts[action.node].up:
        world.request(action.node, f"{action.capsule}.localhost")


def _crash(world: World, action: Action) -> None:
    """More than half of the nodes stay up."""
    up = [host for host in world.hosts.values() if host.up]
    if world.hosts[action.node].up and len(up) > max(1, len(world.hosts) // 2 + 1):
        world.crash(action.node)


def _restart(world: World, action: Action) -> None:
    """Whoever is down starts again, through the named node if it is up, else through the first that is."""
    down = next((name for name, host in world.hosts.items() if not host.up), "")
    through = [h.name for h in world.hosts.values() if h.answers and h.joined]
    if down and through:
        world.restart(down, action.node if action.node in through else through[0])


def _fault(world: World, action: Action) -> None:
    faults = [StartFault("out of ports"), StartFault(dies_s=0.02), StartFault()]
    world.hosts[action.node].faults[action.capsule] = faults[round(action.seconds * 1000) % len(faults)]


def _cure(world: World, action: Action) -> None:
    for host in world.hosts.values():
        host.faults.pop(action.capsule, None)


def _kill(world: World, action: Action) -> None:
    for host in world.hosts.values():
        for instance in [i for i, name in host.instances.items() if name == action.capsule]:
            host.kill(instance)


def _pause(world: World, action: Action) -> None:
    host = world.hosts[action.node]
    if host.up:
        host.pause()
        world.after(action.seconds, host.resume)


def _order(world: World, action: Action, what: type[ev.Withdraw] | type[ev.Rollback]) -> None:
    """It goes on beside what follows."""
    host = world.hosts[action.node]
    if host.answers and host.joined:
        world.begin_order(action.node, what, action.capsule)


def _wipe(world: World, action: Action) -> None:
    """A node that is down loses its disk, if two others that run have not."""
    host = world.hosts[action.node]
    if not host.up and sum(1 for other in world.hosts.values() if other.up) > 1:
        host.wipe()


def _cut(world: World, action: Action) -> None:
    """Half of the ring of names from the named node on, from the other half."""
    names = list(world.hosts)
    at = names.index(action.node)
    ring = names[at:] + names[:at]
    world.cut([ring[: len(ring) // 2], ring[len(ring) // 2 :]])


def _drain(world: World, action: Action) -> None:
    world.hosts[action.node].step(ev.Drain(True))


def _undrain(world: World, action: Action) -> None:
    world.hosts[action.node].step(ev.Drain(False))


def _crowd(world: World, action: Action) -> None:
    world.hosts[action.node].step(ev.Crowded(action.capsule))


def _leave(world: World, action: Action) -> None:
    host = world.hosts[action.node]
    up = [other for other in world.hosts.values() if other.up]
    if host.answers and len(up) > max(1, len(world.hosts) // 2 + 1):
        host.step(ev.Leave())
        world.after(0.05, host.crash)


ACTIONS: dict[str, Callable[[World, Action], None]] = {
    "wait": lambda world, action: world.run(action.seconds),
    "launch": _launch,
    "request": _request,
    "crash": _crash,
    "restart": _restart,
    "fault": _fault,
    "cure": _cure,
    "kill": _kill,
    "pause": _pause,
    "withdraw": lambda world, action: _order(world, action, ev.Withdraw),
    "roll_back": lambda world, action: _order(world, action, ev.Rollback),
    "wipe": _wipe,
    "cut": _cut,
    "heal": lambda world, action: world.heal(),
    "leave": _leave,
    "drain": _drain,
    "undrain": _undrain,
    "crowd": _crowd,
}
