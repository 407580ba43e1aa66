"""Records in worlds with faults: withdrawn, rolled back and launched anew, with nodes that come, go and lose disks.

Once nothing is under way every node has the same records and tombstones (``invariants.records_agree``).
"""

from dataclasses import replace

import pytest

from falak.core import events as ev
from falak.sim import invariants
from falak.sim.network import CALM
from falak.sim.scenario import draw_orbits, play
from falak.sim.world import World, capsule


@pytest.mark.parametrize("seed", range(24))
def test_records_agree_after_anything(seed: int) -> None:
    play(draw_orbits(seed))


@pytest.mark.parametrize("order", [("n1", "n2", "n3", "n4", "n5"), ("n4", "n5", "n2", "n1", "n3")])
def test_a_power_cut_brings_every_capsule_back(order: tuple[str, ...]) -> None:
    """Of each capsule's keepers one kept its disk."""
    world = World(7, CALM)
    world.mesh(5)
    names = [f"c{n}" for n in range(12)]
    for name in names:
        world.launch("n1", name)
    world.launch("n2", "gone")
    world.order("n3", ev.Withdraw, "gone")
    world.run(1.0)
    orbits = world.hosts["n1"].node.orbits
    kept = {name: orbits.keepers_of(name) for name in [*names, "gone"]}
    for host in world.hosts.values():
        host.crash()
    for name, keepers in kept.items():
        for peer in keepers[1:]:
            disk = world.by_id[peer].disk
            if len([p for p in keepers if f"record/{name}" in world.by_id[p].disk]) > 1:
                disk.pop(f"record/{name}", None)
    for name in order:
        world.restart(name)
        world.run(1.0)
    world.run(40.0)
    invariants.views_agree(world)
    invariants.records_agree(world)
    for name in names:
        assert world.ask(order[-1], name).status == 200
    assert world.ask(order[0], "gone").status == 404


def test_a_split_heals_to_equal_records() -> None:
    world = World(11, CALM)
    world.mesh(5)
    world.launch("n1", "both")
    world.launch("n1", "withdrawn")
    world.cut([["n1", "n2", "n3"], ["n4", "n5"]])
    world.run(15.0)
    world.launch("n1", "here")
    world.launch("n4", "there")
    world.launch("n1", "both", version="2")
    world.launch("n4", "both", version="3")
    world.order("n2", ev.Withdraw, "withdrawn")
    world.heal()
    assert world.run_until(lambda: all(len(h.node.members.present()) == 5 for h in world.hosts.values()), 60.0)
    world.run(12.0)
    invariants.records_agree(world)
    assert sorted(world.hosts["n5"].node.orbits.records) == ["both", "here", "there"]
    assert sorted(world.hosts["n5"].node.orbits.tombstones) == ["withdrawn"]


def test_what_gossip_lost_is_found_by_comparing() -> None:
    """Nobody was away, no link broke: only words were lost."""
    world = World(13, replace(CALM, loss=0.5))
    world.network.weather = CALM
    world.mesh(7)
    world.network.weather = replace(CALM, loss=0.5)
    for number in range(8):
        world.publish("n1", capsule(f"c{number}"))
        world.run(0.05)
    world.network.weather = CALM
    world.run(0.5)
    with pytest.raises(invariants.Broken):
        invariants.records_agree(world)
    world.run(45.0)
    invariants.records_agree(world)
    assert len(world.hosts["n7"].node.orbits.records) == 8
