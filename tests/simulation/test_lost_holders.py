"""A holder that stands still, or that one node alone cannot reach: requests wait for it as long as there is time.

The node that asks may be any: an elector of the capsule or not, its first elector, the convener. What is known
of the holder differs from node to node, so for seconds nobody can win an election and nobody holds the slot.
"""

import pytest

from falak.core import events as ev
from falak.core.model import ALIVE
from falak.core.settings import Settings
from falak.sim.host import Host
from falak.sim.world import World

CALL_S = Settings().call_deadline_s


def held(nodes: int, seed: int, name: str = "c0") -> tuple[World, Host, Host]:
    """A world, the holder of the capsule in it, and a node that is to ask: another one by each seed."""
    world = World(seed)
    world.mesh(nodes)
    assert not world.launch("n1", name).why and world.ask("n1", name).status == 200
    world.run(1.0)
    holder = next(host for host in world.hosts.values() if host.node.claims.own())
    others = [host for host in world.hosts.values() if host is not holder]
    return world, holder, others[seed % len(others)]


def first_elector(world: World, name: str) -> Host:
    return world.by_id[world.hosts["n1"].node.orbits.electors_of(name)[0]]


@pytest.mark.parametrize("nodes", [2, 3, 5, 9])
@pytest.mark.parametrize("seed", range(8))
def test_a_holder_that_stands_still_is_followed_within_the_call(nodes: int, seed: int) -> None:
    world, holder, asker = held(nodes, seed)
    holder.pause()
    request = world.ask(asker.name, "c0")
    assert (request.status, request.outcome != f"answered by {holder.name}") == (200, True), request
    assert request.ended_at - request.began_at < CALL_S


@pytest.mark.parametrize("nodes", [3, 5, 9])
@pytest.mark.parametrize("seed", range(8))
def test_a_link_that_comes_back_within_the_call_answers(nodes: int, seed: int) -> None:
    world, holder, asker = held(nodes, seed)
    world.part(asker.name, holder.name)
    world.after(4.5, world.heal)
    request = world.ask(asker.name, "c0")
    assert (request.status, request.outcome) == (200, f"answered by {holder.name}"), request


@pytest.mark.parametrize("nodes", [3, 5, 9])
@pytest.mark.parametrize("seed", range(8))
def test_a_link_that_stays_lost_is_told_at_the_end_of_the_call(nodes: int, seed: int) -> None:
    world, holder, asker = held(nodes, seed)
    world.part(asker.name, holder.name)
    request = world.ask(asker.name, "c0")
    assert request.status == 503 and holder.name in request.outcome, request
    assert request.ended_at - request.began_at > CALL_S - 1.5
    for host in world.hosts.values():
        if host not in (holder, asker):
            assert world.ask(host.name, "c0").outcome == f"answered by {holder.name}"


@pytest.mark.parametrize("seed", range(8))
def test_who_can_reach_it_gets_the_claim_that_the_convener_doubts(seed: int) -> None:
    """The first elector could not hand a request over; somebody else asks it, who can."""
    stories = ((name, *held(9, seed, name)) for name in map("c{}".format, range(20)))
    name, world, holder, _ = next(s for s in stories if first_elector(s[1], s[0]) is not s[2])
    first = first_elector(world, name)
    first.step(ev.Unreachable(name, holder.id))
    assert first.node.members.members[holder.id].state == ALIVE
    asker = [host for host in world.hosts.values() if host not in (holder, first)][seed % 7]
    asker.node.election.calls._believed.clear()  # as one that has not asked before
    request = world.ask(asker.name, name)
    assert request.outcome == f"answered by {holder.name}"
    assert request.ended_at - request.began_at < 0.1
