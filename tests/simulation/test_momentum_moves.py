"""Copies that move, rest and multiply in foul weather: never more than max, and no request lost on the way."""

from collections import Counter

import pytest

from falak.core import events as ev
from falak.core.model import Scale
from falak.sim import invariants
from falak.sim.network import Weather
from falak.sim.scenario import draw_moves, rest
from falak.sim.shrink import shrink, story, what_breaks
from falak.sim.world import World

SWEET = Weather(stall=0.05, reorder=0.05, duplicate=0.05)
"""Slow loops and odd orders, but nobody is cut off: then the bound on copies holds at every moment."""
FIVE = tuple(f"n{i}" for i in range(1, 6))


def most_at_once(world: World, name: str) -> Counter[int]:
    """By generation: how many copies claimed slots and served at once, at most, from now on."""
    most: Counter[int] = Counter()
    inner = world.check

    def check(host: object) -> None:
        inner(host)  # type: ignore[arg-type]
        now: Counter[int] = Counter()
        for other in world.hosts.values():
            if other.up:
                now.update(copy.record.generation for copy in other.node.momentum.serving(name))
        for generation, count in now.items():
            most[generation] = max(most[generation], count)

    world.check = check  # type: ignore[method-assign]
    return most


def ask_all(world: World, name: str, seconds: float, every_s: float = 0.004) -> None:
    """Requests at every node in turn, whoever is up."""
    until, n = world.now + seconds, 0
    while world.now < until:
        at = FIVE[n % len(FIVE)]
        if world.hosts[at].answers and not world.hosts[at].node.draining.on:
            world.request(at, f"{name}.localhost")
        world.run(every_s)
        n += 1


def lost(world: World) -> list[str]:
    return [f"{r.number} at {r.at}: {r.status} {r.outcome}" for r in world.requests if r.status != 200]


@pytest.mark.parametrize("seed", range(12))
def test_a_rolling_restart_loses_no_request_and_runs_one_copy(seed: int) -> None:
    world = World(seed, SWEET)
    world.mesh(5)
    world.launch("n1", "c0")
    most = most_at_once(world, "c0")
    for name in FIVE:
        ask_all(world, "c0", 0.2)
        host = world.hosts[name]
        host.step(ev.Leave())
        ask_all(world, "c0", 0.1)
        host.crash()
        ask_all(world, "c0", 0.3)
        through = next(h.name for h in world.hosts.values() if h.up)
        world.restart(name, through)
        world.run_until(lambda host=host: host.joined)  # type: ignore[misc]
    ask_all(world, "c0", 0.2)
    rest(world)
    assert not lost(world) and most == {1: 1}


@pytest.mark.parametrize("seed", range(12))
def test_a_newer_generation_loses_no_request(seed: int) -> None:
    world = World(seed, SWEET)
    world.mesh(5)
    world.launch("n1", "c0")
    most = most_at_once(world, "c0")
    for version in ("2", "3"):
        ask_all(world, "c0", 0.1)
        world.launch(FIVE[seed % 5], "c0", version=version)
        ask_all(world, "c0", 0.4)
    rest(world)
    assert not lost(world) and most == {1: 1, 2: 1, 3: 1}
    assert {c.record.generation for h in world.hosts.values() for c in h.node.momentum.copies.values()} == {3}


@pytest.mark.parametrize("seed", range(12))
def test_drains_and_crowds_and_idleness_keep_to_max(seed: int) -> None:
    world = World(seed, SWEET)
    world.mesh(5)
    world.launch("n1", "c0", scale=Scale(1, 3, 4), idle_s=5)
    most = most_at_once(world, "c0")
    for turn in range(12):
        host = world.hosts[FIVE[world.rng.randrange(5)]]
        host.step(ev.Drain(turn % 3 == 0))
        for other in world.hosts.values():
            other.step(ev.Crowded("c0"))
        ask_all(world, "c0", 0.3)
    for host in world.hosts.values():
        host.step(ev.Drain(False))
    world.run(1.0)
    assert not lost(world) and most[1] == 3
    world.run(120.0)
    rest(world)
    claims = [claim for host in world.hosts.values() for claim in host.node.claims.own()]
    assert [claim.slot for claim in claims] == [0], "the others had nothing to do"


@pytest.mark.parametrize("seed", range(6))
def test_what_must_run_is_whole_again_after_two_died(seed: int) -> None:
    world = World(seed, SWEET)
    world.mesh(7)  # two of five are more than a third: then only requests call
    names = [f"c{i}" for i in range(20)]
    for name in names:
        world.launch("n1", name, scale=Scale(2, 2))
    world.run(5.0)

    def whole() -> bool:
        up = [h for h in world.hosts.values() if h.up]
        run = Counter(c.name for h in up for c in h.node.momentum.copies.values() if c.state == "active")
        return all(run[name] == 2 for name in names)

    assert whole()
    world.crash("n2")
    world.crash("n4")
    began = world.now
    assert world.run_until(whole, 10.0)
    assert world.now - began < 3.0
    rest(world)


def test_a_slot_beyond_max_is_an_invariant(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(1, SWEET)
    world.mesh(2)
    world.launch("n1", "c0")
    world.ask("n1", "c0")
    world.run(1.0)
    invariants.quiet(world)
    copy = next(c for h in world.hosts.values() for c in h.node.momentum.copies.values())
    copy.slot = 1
    with pytest.raises(invariants.Broken, match="c0/1"):
        invariants.slots_are_allowed(world)


@pytest.mark.parametrize("seed", range(40))
def test_short_histories_with_moves(seed: int) -> None:
    plan = draw_moves(seed)
    broken = what_breaks(plan)
    if broken:
        pytest.fail(story(shrink(plan)))
