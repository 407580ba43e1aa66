"""What strangers and broken peers send, as far as it concerns the core: a clear error, nothing lost.

Each case is sent into the middle of a mesh that works; afterwards a request is answered as if nothing had been.
"""

from collections.abc import Callable

import pytest

from falak.core import events as ev
from falak.core import wire
from falak.core.model import Capacity, SignedRecord, Value, Vote
from falak.core.settings import EPOCH_MAX, GRAVITY_ONE
from falak.sim.host import Host
from falak.sim.network import CALM
from falak.sim.scenario import rest
from falak.sim.world import World
from tests.unit.core.rig import claim, profile

IDS = ("n1-id", "n2-id", "n3-id", "n4-id", "n5-id")


@pytest.fixture
def world() -> World:
    """Five nodes and a capsule that runs at one of them."""
    made = World(5, CALM)
    made.mesh(5)
    assert not made.launch("n1", "hello").why
    made.run(0.2)
    assert made.ask("n1", "hello").status == 200
    return made


def propose(capsule: str, epoch: int, electors: tuple[str, ...] = IDS) -> wire.Propose:
    return wire.Propose(capsule, 1, 0, epoch, GRAVITY_ONE, "n2-id", electors, "x", Capacity())


def replayed(world: World, host: Host) -> wire.Message:
    """The first claim of the holder, as an elector heard it."""
    holder = next(h for h in world.hosts.values() if h.node.claims.own())
    return wire.Claimed(holder.node.claims.own()[0], Capacity())


CASES: dict[str, wire.Message | Callable[[World, Host], wire.Message]] = {
    "a proposal for an unknown capsule": propose("nope", 1),
    "a proposal of epoch 0": propose("hello", 0),
    "a proposal of an epoch far ahead": propose("hello", EPOCH_MAX),
    "a proposal that names other electors": propose("hello", 9, ("n8-id", "n9-id")),
    "a proposal that names an elector twice": propose(
        "hello", 9, ("n1-id", "n1-id", "n2-id", "n3-id", "n4-id")
    ),
    "a vote nobody asked for": wire.Voted("hello", 0, 1, Vote(EPOCH_MAX, "n2-id")),
    "a vote with somebody's claim": wire.Voted(
        "hello", 0, 9, Vote(9, "n2-id"), claim("hello", "n9", epoch=EPOCH_MAX)
    ),
    "a replayed claim in another's name": replayed,
    "a claim of a boot that never was": wire.Claimed(claim("hello", "n2", boot=1, epoch=EPOCH_MAX), Capacity()),
    "an end of another's claim": wire.Released(claim("hello", "n3", sequence=99), "mine"),
    "a greater claim that nobody holds": wire.Outclaimed(claim("hello", "n9", epoch=EPOCH_MAX)),
    "a hello naming another id": wire.Hello(profile("n7")),
    "a hello of another cluster": wire.Hello(profile("n2", cluster="other")),
    "a heartbeat in another's name": wire.Heartbeat(profile("n3"), 1),
    "a welcome nobody waits for": wire.Welcome((profile("n77"),)),
    "a goodbye of another boot": wire.Goodbye(12345, 1),
    "a record that is none": wire.Announce(SignedRecord(b"\xc1", "n2-id", b"")),
    "keep a record that is none": wire.Keep(SignedRecord(b"\xc1", "n2-id", b"")),
    "a summons from nowhere": wire.Summon("hello", 99, 0, EPOCH_MAX, 0, 0, IDS, "n9-id", False, "x"),
    "a withdrawal of nothing": wire.Withdrawn("hello", 0, EPOCH_MAX),
    "a decline of nothing": wire.Decline("hello", 0, 1, "no", Capacity()),
    "won by nobody": wire.Won("hello", 0, EPOCH_MAX, "n9-id"),
    "a look at nothing": wire.Look("nope", 7),
    "a call for nothing": wire.Call("nope", "x", Capacity()),
    "holders of nothing": wire.Holders("nope", "x", (claim("nope", "n9"),)),
    "claims of another": wire.ClaimsGiven((claim("hello", "n3", epoch=EPOCH_MAX),), (("hello", 0),), 2**62),
}


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_lost(world: World, name: str) -> None:
    """n2 says it to everybody, twice."""
    case = CASES[name]
    for host in world.hosts.values():
        if host.name != "n2":
            message = case if isinstance(case, Value) else case(world, host)
            for _ in range(2):
                host.step(ev.Received("n2-id", wire.decode(wire.encode(message))))
    world.run(0.5)
    for at in world.hosts:
        answer = world.ask(at, "hello")
        assert answer.status == 200, answer.outcome
    rest(world)


def test_a_vote_by_someone_not_named_elects_nobody(world: World) -> None:
    """Three strangers ack a candidate: it takes no notice."""
    host = world.hosts["n3"]
    record = host.node.orbits.get("hello")
    assert record is not None
    summon = wire.Summon("hello", 1, 5, 1, 0, 0, ("n4-id", "n5-id", "n6-id"), "n1-id", False, "x")
    host.step(ev.Received("n2-id", summon))
    for stranger in ("n7-id", "n8-id", "n9-id"):
        host.step(ev.Received(stranger, wire.Voted("hello", 5, 1, Vote(1, "n3-id"))))
    assert host.node.turn.counters["vote_not_an_elector"] == 3
    assert not [c for c in host.node.claims.own() if c.slot == 5]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (wire.Hello(profile("n7"), True), "its hello names another node than its link does"),
        (
            wire.Hello(profile("n9", cluster="other"), True),
            "the nodes here are of cluster main, it is of other",
        ),
    ],
)
def test_a_refusals_reason_reaches_people(world: World, said: wire.Hello, reason: str) -> None:
    stranger = world.add("n9", join="n1")
    heard: list[wire.Message] = []
    world.tracer = lambda host, what: heard.append(what.message) if isinstance(what, ev.Received) else None
    world.run(0.0036)
    world.hosts["n1"].step(ev.Received("n9-id", said))
    world.run(0.01)
    assert wire.HelloRefused(reason) in heard
    fresh = World(1, CALM)
    node = fresh.add("n1", join="")
    node.node.members.joined = False
    node.step(ev.Received("n2-id", wire.HelloRefused(reason)))
    assert node.refused_join == f"n2-id refused this node: {reason}"
    assert stranger.up
