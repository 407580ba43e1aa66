"""Every wait for others, in meshes of one, two and three nodes: joining, launching, searching, electing.

In each the others are there, one of them dies before it can answer, or it cannot be reached.
"""

import pytest

from falak.core import events as ev
from falak.sim.host import StartFault
from falak.sim.network import CALM
from falak.sim.scenario import rest
from falak.sim.world import World, capsule

SIZES = pytest.mark.parametrize("count", [1, 2, 3])
WITH_OTHERS = pytest.mark.parametrize("count", [2, 3])
"""For what is about one that dies while another lives on."""


def mesh(count: int, launched: str = "hello") -> World:
    world = World(count, CALM)
    world.mesh(count)
    if launched:
        assert not world.launch("n1", launched).why
        world.run(0.2)
    return world


@SIZES
def test_joining_through_any_member(count: int) -> None:
    world = mesh(count)
    for through in list(world.hosts):
        name = f"new-{through}"
        began = world.now
        host = world.add(name, join=through)
        assert world.run_until(lambda host=host: host.joined, 1.0)  # type: ignore[misc]
        assert world.now - began < 0.02
        assert "hello" in host.node.orbits.records
    rest(world)


@SIZES
def test_launching_is_kept_by_two_others_or_all_there_are(count: int) -> None:
    world = mesh(count, launched="")
    result = world.launch(f"n{count}", "hello")
    assert not result.why and len(result.keepers) == min(2, count - 1)
    rest(world)


@SIZES
def test_launching_while_one_dies(count: int) -> None:
    world = mesh(count, launched="")
    request = world.publish("n1", capsule("hello"))
    if count > 1:
        world.crash(f"n{count}")
    assert world.run_until(lambda: world.published_yet(request), 5.0)
    result = world.publications[request]
    assert not result.why and len(result.keepers) >= max(0, count - 2)


@SIZES
def test_the_first_request_anywhere(count: int) -> None:
    for at in range(1, count + 1):
        world = mesh(count)
        answer = world.ask(f"n{at}", "hello")
        assert answer.status == 200 and answer.ended_at - answer.began_at < 0.01
        rest(world)


@SIZES
def test_an_unknown_name(count: int) -> None:
    world = mesh(count)
    answer = world.ask("n1", "nope")
    assert answer.status == 404 and "no capsule answers at nope.localhost" in answer.outcome
    assert answer.ended_at - answer.began_at < 0.01


@WITH_OTHERS
def test_the_holder_dies(count: int) -> None:
    """A request after the evidence finds a new holder in milliseconds."""
    world = mesh(count)
    holder = world.ask("n1", "hello").outcome.removeprefix("answered by ")
    world.crash(holder)
    world.run(0.01)
    other = next(host.name for host in world.hosts.values() if host.up)
    answer = world.ask(other, "hello")
    assert answer.status == 200, answer.outcome
    assert answer.ended_at - answer.began_at < 0.02
    rest(world)


@WITH_OTHERS
def test_the_convener_dies_with_the_call(count: int) -> None:
    world = mesh(count)
    orbits = world.hosts["n1"].node.orbits
    convener = world.by_id[orbits.electors_of("hello")[0]].name
    caller = next(name for name in world.hosts if name != convener)
    request = world.request(caller, "hello.localhost")
    world.run(0.0005)
    world.crash(convener)
    world.run_until(lambda: bool(request.outcome), 12.0)
    assert request.status == 200, request.outcome
    assert request.ended_at - request.began_at < 0.2
    rest(world)


@SIZES
def test_a_copy_that_fails_everywhere_is_refused_with_the_reason(count: int) -> None:
    world = mesh(count)
    for host in world.hosts.values():
        host.faults["hello"] = StartFault("out of ports")
    answer = world.ask("n1", "hello")
    assert answer.status == 503 and "out of ports" in answer.outcome
    assert answer.ended_at - answer.began_at < 0.1
    rest(world)


@SIZES
def test_a_copy_that_fails_at_one_node_runs_at_another(count: int) -> None:
    world = mesh(count)
    first = world.ask("n1", "hello").outcome.removeprefix("answered by ")
    world.hosts[first].kill(next(iter(world.hosts[first].instances)))
    world.hosts[first].faults["hello"] = StartFault("out of ports")
    answer = world.ask("n1", "hello")
    assert answer.status == (200 if count > 1 else 503), answer.outcome
    assert answer.ended_at - answer.began_at < 0.1


@SIZES
def test_a_node_cut_off_waits_for_the_drop_and_goes_on_alone(count: int) -> None:
    world = mesh(count)
    if count > 1:
        world.cut([["n1"], [f"n{i}" for i in range(2, count + 1)]])
        world.run(0.01)
    answer = world.ask("n1", "hello")
    assert answer.status == 200, answer.outcome
    assert answer.ended_at - answer.began_at < (7.0 if count > 1 else 0.01)
    rest(world)  # both sides may hold it: after the heal one of them gives way


@SIZES
def test_a_restarted_node_serves_again(count: int) -> None:
    world = mesh(count)
    world.ask("n1", "hello")
    again = f"n{count}"
    world.crash(again)
    world.run(0.1)
    world.restart(again, "n1" if count > 1 else "")
    answer = world.ask(again, "hello")
    assert answer.status == 200, answer.outcome
    assert answer.ended_at - answer.began_at < 1.5  # it votes again after a second
    rest(world)


@SIZES
def test_leaving_is_known_at_once_and_its_work_runs_elsewhere(count: int) -> None:
    world = mesh(count)
    holder = world.ask("n1", "hello").outcome.removeprefix("answered by ")
    world.hosts[holder].step(ev.Leave())
    world.after(0.05, world.hosts[holder].crash)
    world.run(0.002)
    others = [host for host in world.hosts.values() if host.name != holder]
    for host in others:
        assert f"{holder}-id" not in host.node.members.present()
        answer = world.ask(host.name, "hello")
        assert answer.status == 200 and answer.ended_at - answer.began_at < 0.02
    world.run(1.0)
    rest(world)
