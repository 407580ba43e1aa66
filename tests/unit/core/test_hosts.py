"""The directory of hosts at one elector, and a host's way through a mesh."""

import pytest

from falak.core import wire
from falak.core.model import Route, SignedRecord
from falak.core.settings import Settings
from falak.sim.network import CALM
from falak.sim.world import World, capsule
from tests.unit.core.rig import Rig, record, signed

HOST = "shop.example"


def enter(rig: Rig, capsule: str, generation: int = 1, host: str = HOST, names: bool = True) -> None:
    routes = (Route(host),) if names else ()
    rig.hear("n2", wire.HostEntry(host, signed(record(capsule, generation, routes=routes))))


def owner(rig: Rig, wants: str = "", at: str = "n3", host: str = HOST) -> str:
    rig.hear(at, wire.Lookup(f"host/{host}", 1, wants))
    return rig.sent(wire.Found, at)[-1].capsule


def test_the_first_capsule_has_its_host_until_its_newest_record_does_not_name_it(rig: Rig) -> None:
    enter(rig, "one")
    enter(rig, "two")
    assert owner(rig) == "one" and rig.count("host_taken") == 1
    enter(rig, "one", 2, names=False)
    assert owner(rig) == ""
    enter(rig, "two")
    assert owner(rig) == "two"


def test_an_older_record_gives_nothing_up_and_another_capsule_neither(rig: Rig) -> None:
    enter(rig, "one", 3)
    enter(rig, "one", 2, names=False)
    enter(rig, "two", 9, names=False)
    assert owner(rig) == "one"


def test_an_entry_is_void_where_a_newer_record_is_known(rig: Rig) -> None:
    enter(rig, "one")
    rig.know(record("one", 2))
    assert owner(rig) == ""


def test_who_is_refused_is_told_of(rig: Rig) -> None:
    enter(rig, "one")
    enter(rig, "two")
    assert rig.notes("capsule.host_refused") == [{"capsule": "two", "host": HOST, "owner": "one"}]


def test_a_record_that_does_not_name_the_host_enters_nothing(rig: Rig) -> None:
    enter(rig, "thief", 9, names=False)
    assert owner(rig) == "" and not rig.node.orbits.hosts.entries


def test_an_unreadable_record_enters_nothing(rig: Rig) -> None:
    rig.hear("n2", wire.HostEntry(HOST, SignedRecord(b"\xc1", "n2-id", b"")))
    assert owner(rig) == "" and rig.count("record_unreadable") == 1


def test_of_two_launches_at_once_one_is_given_the_host(rig: Rig) -> None:
    assert owner(rig, "one") == ""
    assert owner(rig, "two", "n2") == "one" and owner(rig, "one") == ""
    assert owner(rig, "", "n2") == "", "a request is no launch: nobody answers there yet"
    rig.wait(Settings().publish_s + 0.1)
    assert owner(rig, "two", "n2") == "", "a launch that came to nothing is forgotten"


def test_entries_and_reservations_are_bounded() -> None:
    rig = Rig(Settings(hosts_max=1))
    rig.begin()
    rig.meet("n2")
    for host in ("a.example", "b.example"):
        enter(rig, "x", host=host)
    assert list(rig.node.orbits.hosts.entries) == ["a.example"] and rig.count("hosts_full") == 1
    assert owner(rig, "p", "n2", "c.example") == "" and owner(rig, "q", "n2", "d.example") == ""
    assert rig.node.sizes()["hosts reserved"] == (1, 1)
    assert owner(rig, "r", "n2", "c.example") == "p"


# --- through a mesh -----------------------------------------------------------------------------------


def mesh(count: int = 5) -> World:
    world = World(1, CALM)
    world.mesh(count)
    world.run(0.5)
    return world


def launch(world: World, at: str, name: str, *routes: Route) -> str:
    """Why it was not published, "" if it was."""
    return world.launch(at, name, routes=routes).why


def test_a_host_that_was_given_up_can_be_had() -> None:
    world = mesh()
    assert launch(world, "n1", "one", Route(HOST)) == ""
    assert "belongs to capsule one" in launch(world, "n2", "two", Route(HOST))
    assert launch(world, "n3", "one") == ""
    world.run(0.1)
    assert launch(world, "n2", "two", Route(HOST)) == ""


@pytest.mark.parametrize("other", ["n1", "n2", "n3", "n4", "n5"])
def test_two_launches_of_one_host_at_once_do_not_both_succeed(other: str) -> None:
    world = mesh()
    requests = [
        world.publish(at, capsule(name, routes=(Route(HOST),))) for at, name in (("n1", "one"), (other, "two"))
    ]
    world.run_until(lambda: all(map(world.published_yet, requests)))
    whys = [world.publications[request].why for request in requests]
    assert whys.count("") == 1 and sum("belongs to capsule" in why for why in whys) == 1


def test_a_path_without_a_route_is_404_at_once() -> None:
    world = mesh()
    assert launch(world, "n1", "one", Route(HOST, "/v1")) == ""
    began = world.now
    wrong = world.request("n4", HOST, "/other")
    world.run_until(lambda: bool(wrong.outcome))
    assert wrong.status == 404 and "no route for this path" in wrong.outcome and world.now - began < 1.0
    right = world.request("n4", HOST, "/v1/x")
    world.run_until(lambda: bool(right.outcome))
    assert right.status == 200
