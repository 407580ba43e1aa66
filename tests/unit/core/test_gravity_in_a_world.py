"""Three nodes that differ in one term of gravity alone: the election goes as that term predicts."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from falak.core import events as ev
from falak.core.model import Capacity, Resources, Wishes
from falak.core.node import Place
from falak.sim.host import StartFault
from falak.sim.network import CALM
from falak.sim.world import World, capsule

GIB = 1024**3
Prepare = Callable[[World], object]


def world(places: dict[str, Place] | None = None, zones: dict[str, str] | None = None) -> World:
    """Three nodes that know each other; the capsule is asked for at a fourth, which cannot run it."""
    made = World(7, CALM)
    made.add("n1", (places or {}).get("n1"), (zones or {}).get("n1", ""))
    for name in ("n2", "n3"):
        made.add(name, (places or {}).get(name), (zones or {}).get(name, ""), join="n1")
    made.add("asker", Place(orbits=()), join="n1")
    assert made.run_until(lambda: all(len(h.node.members.present()) == 4 for h in made.hosts.values()))
    return made


def load(host: str, **capacity: int) -> Prepare:
    """The node's machine is as given; others learn it from its next heartbeat."""

    def sample(world: World) -> None:
        machine = world.hosts[host]
        machine.capacity = replace(machine.capacity, **capacity)
        machine.step(ev.Sampled(machine.capacity))

    return sample


def elected(world: World, *steps: Prepare, **fields: object) -> str:
    """Who answers for a new capsule, 3 s (a heartbeat of everybody) after the steps."""
    assert not world.launch("asker", "hello", **fields).why
    for step in steps:
        step(world)
    world.run(3.0)
    answer = world.ask("asker", "hello")
    assert answer.status == 200, answer.outcome
    return answer.outcome.removeprefix("answered by ")


def everybody_but(name: str, *steps: Callable[[str], Prepare]) -> list[Prepare]:
    return [step(other) for other in ("n1", "n2", "n3") if other != name for step in steps]


@pytest.mark.parametrize("best", ["n1", "n2", "n3"])
def test_cpu(best: str) -> None:
    assert elected(world(), *everybody_but(best, lambda n: load(n, load_millis=3900))) == best


@pytest.mark.parametrize("best", ["n1", "n2", "n3"])
def test_memory(best: str) -> None:
    assert elected(world(), *everybody_but(best, lambda n: load(n, free_memory_bytes=GIB))) == best


@pytest.mark.parametrize("best", ["n1", "n2", "n3"])
def test_latency(best: str) -> None:
    """The caller itself is nearest to its requests, all else equal."""
    made = World(7, CALM)
    hosts = made.mesh(3)
    assert not made.launch(hosts[0].name, "hello").why
    made.run(3.0)
    assert made.ask(best, "hello").outcome == f"answered by {best}"


@pytest.mark.parametrize("best", ["n1", "n2", "n3"])
def test_tags(best: str) -> None:
    made = world({best: Place(tags=("gpu",))})
    assert elected(made, wishes=Wishes(prefer=("gpu",))) == best


@pytest.mark.parametrize("best", ["n1", "n2", "n3"])
def test_zone_and_arch_as_wishes(best: str) -> None:
    assert elected(world(zones={best: "z2"}), wishes=Wishes(prefer=("zone=z2",))) == best
    assert elected(world({best: Place(arch="arm64")}), wishes=Wishes(require=("arch=arm64",))) == best


@pytest.mark.parametrize("holder", ["n1", "n2", "n3"])
def test_locality(holder: str) -> None:
    """A convener knows best what it has itself: the same capsule goes elsewhere once it is not here."""
    made = world()
    names = (f"c{i}" for i in range(1000))
    hello = next(c for c in names if made.hosts[holder].node.orbits.electors_of(c)[0] == f"{holder}-id")
    assert not made.launch("asker", hello).why
    made.run(3.0)
    for other in ("n1", "n2", "n3"):
        if other != holder:
            load(other, load_millis=400)(made)  # a little worse than the holder, as long as that has it
    made.run(3.0)
    assert first_candidate(made, hello) == holder
    made.hosts[holder].node.artifacts._level.clear()
    assert first_candidate(made, hello) != holder


def first_candidate(world: World, name: str) -> str:
    orbits = world.hosts["n1"].node.orbits
    convener = world.by_id[orbits.electors_of(name)[0]].node
    record = convener.orbits.get(name)
    assert record is not None
    return world.by_id[convener.election.rank(record, "asker-id", frozenset()).candidates[0][0]].name


@pytest.mark.parametrize("best", ["n1", "n2", "n3"])
def test_health(best: str) -> None:
    """Where another capsule failed by the node's fault lately, this one does not go."""

    def fail(name: str) -> Prepare:
        def two_failures(world: World) -> None:
            for _ in range(2):
                world.hosts[name].node.momentum.failures.add("", world.now)

        return two_failures

    assert elected(world(), *everybody_but(best, fail)) == best


@pytest.mark.parametrize("best", ["n1", "n2", "n3"])
def test_room(best: str) -> None:
    """Copies that run elsewhere leave less room there."""
    made = world()
    for i, other in enumerate(n for n in ("n1", "n2", "n3") if n != best):
        for j in range(3):
            name = f"filler{i}{j}"
            assert not made.launch("asker", name, wishes=Wishes(require=())).why
            faults = {n: StartFault("not now") for n in ("n1", "n2", "n3") if n != other}
            for n, fault in faults.items():
                made.hosts[n].faults[name] = fault
            assert made.ask("asker", name).outcome == f"answered by {other}"
            for n in faults:
                del made.hosts[n].faults[name]
                made.hosts[n].node.momentum.failures._seen.clear()
    assert elected(made) == best


def test_four_capsules_without_resources_spread_over_three_nodes() -> None:
    made = world()
    answered = set()
    for name in ("a", "b", "c", "d"):
        made.launch("asker", name)
        made.run(3.0)
        answered.add(made.ask("asker", name).outcome)
    assert answered == {"answered by n1", "answered by n2", "answered by n3"}


def test_what_fits_nowhere_is_refused_with_every_nodes_reason() -> None:
    made = world()
    made.launch("asker", "hello", resources=Resources(memory_bytes=64 * GIB))
    made.run(0.1)
    answer = made.ask("asker", "hello")
    assert answer.status == 503
    for name in ("n1", "n2", "n3"):
        assert f"{name}: needs 65536 MiB of memory, 8192 MiB are free" in answer.outcome
    assert "asker: it does not watch orbit default" in answer.outcome


def test_reservations_count_before_a_copy_runs() -> None:
    made = World(3, CALM)
    made.mesh(1)
    machine = made.hosts["n1"]
    machine.step(ev.Sampled(Capacity(4000, 8 * GIB, 4000, 8 * GIB, 0)))
    assert not made.launch("n1", "big", resources=Resources(memory_bytes=5 * GIB)).why
    assert not made.launch("n1", "too", resources=Resources(memory_bytes=5 * GIB)).why
    made.run(0.1)
    assert made.ask("n1", "big").status == 200
    assert "needs 5120 MiB of memory, 3072 MiB are free" in made.ask("n1", "too").outcome


def test_a_record_for_worlds_is_sound() -> None:
    assert capsule("x").artifacts[0].digest == b"x-1".hex().ljust(64, "0")
