"""Records: which is newest, who keeps them, the routes and host entries they make."""

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.model import Route, SignedRecord, decode_record, encode_record
from falak.core.node import Place
from falak.core.settings import GOSSIP_MAX_BYTES, MESSAGE_MAX_BYTES, Settings
from tests.unit.core.rig import ARTIFACT, Rig, capsule_for, handed, profile, record, signed


def announce(rig: Rig, *args: object, **fields: object) -> None:
    rig.hear("n2", wire.Announce(signed(record(*args, **fields))))  # type: ignore[arg-type]


def test_a_record_is_announced_and_makes_a_route(rig: Rig) -> None:
    announce(rig, "hello", version="1.2")
    assert rig.notes("capsule.announced") == [
        {"capsule": "hello", "generation": 1, "version": "1.2", "publisher": "n2"}
    ]
    assert rig.did(ef.SetRoutes) == [ef.SetRoutes((("hello.localhost", "/", "hello"),))]


def test_the_higher_generation_wins_in_any_order(rig: Rig) -> None:
    announce(rig, "hello", 2)
    announce(rig, "hello", 1)
    assert rig.node.orbits.records["hello"].record.generation == 2 and not rig.did(ef.Note)
    announce(rig, "hello", 3)
    assert rig.notes("capsule.updated")[0]["generation"] == 3


def test_between_equal_generations_the_higher_digest_wins_everywhere() -> None:
    one, other = signed(record("hello", version="a")), signed(record("hello", version="b"))
    kept = []
    for first, second in ((one, other), (other, one)):
        rig = Rig()
        rig.begin()
        rig.meet("n2")
        rig.hear("n2", wire.Announce(first))
        rig.hear("n2", wire.Announce(second))
        kept.append(rig.node.orbits.records["hello"].digest)
    assert kept == [max(one.digest, other.digest)] * 2


def test_the_same_record_again_changes_nothing(rig: Rig) -> None:
    announce(rig, "hello")
    announce(rig, "hello")
    assert rig.effects == []


def test_unreadable_and_oversize_records_are_counted(rig: Rig) -> None:
    rig.hear("n2", wire.Announce(SignedRecord(b"\xc1\xc1", "n2-id", b"")))
    rig.hear("n2", wire.Records((signed(record("big", env=(("A", "x" * GOSSIP_MAX_BYTES),))),)))
    assert rig.count("record_unreadable") == rig.count("record_oversize") == 1
    assert rig.node.orbits.records == {}


def test_records_are_bounded_and_new_names_beyond_are_told() -> None:
    rig = Rig(Settings(records_max=2))
    rig.begin()
    rig.meet("n2")
    for name in ("a", "b", "c"):
        announce(rig, name)
    assert sorted(rig.node.orbits.records) == ["a", "b"] and rig.notes("capsule.refused")
    announce(rig, "a", 2)
    assert rig.node.orbits.records["a"].record.generation == 2


def test_what_the_disk_kept_is_taken_up_without_being_stored_again() -> None:
    rig = Rig()
    rig.begin(kept=(signed(record("hello", artifacts=(ARTIFACT,))),), artifacts=(ARTIFACT.digest,))
    assert rig.node.orbits.is_kept("hello")
    assert not [p for p in rig.did(ef.Persist) if p.key.startswith("record/")]
    assert rig.did(ef.Prepare)
    assert rig.did(ef.SetRoutes)


def test_a_keeper_answers_once_record_and_artifacts_are_here(rig: Rig) -> None:
    name = capsule_for(("n1", "n2", "n3"), lambda e: True)
    what = signed(record(name, artifacts=(ARTIFACT,)))
    rig.hear("n2", wire.Keep(what))
    kinds = [type(e) for e in rig.effects if isinstance(e, ef.Persist | ef.Fetch)]
    assert kinds.count(ef.Persist) == 1 and ef.Fetch(ARTIFACT, "n2-id") in rig.effects
    assert rig.sent(wire.Kept, "n2") == [wire.Kept(name, what.digest)]
    rig.hear("n3", wire.Keep(what))  # asked again: answered again
    assert rig.sent(wire.Kept, "n3") == [wire.Kept(name, what.digest)]


def test_a_keeper_says_why_not(rig: Rig) -> None:
    what = signed(record("hello", artifacts=(ARTIFACT,)))
    rig.fetch_why = "the disk is full"
    rig.hear("n2", wire.Keep(what))
    assert rig.sent(wire.Kept, "n2") == [wire.Kept("hello", what.digest, "the disk is full")]
    rig.disk_why = "read-only file system"
    bare = signed(record("bare"))
    rig.hear("n2", wire.Keep(bare))
    assert rig.sent(wire.Kept, "n2") == [wire.Kept("bare", bare.digest, "read-only file system")]
    assert rig.notes("capsule.not_stored") == [{"capsule": "bare", "reason": "read-only file system"}]


def test_an_outdated_record_is_not_kept(rig: Rig) -> None:
    announce(rig, "hello", 5)
    rig.hear("n2", wire.Keep(signed(record("hello", 4))))
    (kept,) = rig.sent(wire.Kept, "n2")
    assert kept.name == "hello" and kept.why


def test_lookups_are_answered_with_the_record_or_with_nothing(rig: Rig) -> None:
    announce(rig, "hello", 3)
    rig.hear("n3", wire.Lookup("hello", 7))
    assert rig.sent(wire.Found, "n3") == [wire.Found("hello", 7, "hello", 3, signed(record("hello", 3)))]
    rig.hear("n3", wire.Lookup("unknown", 8))
    rig.hear("n3", wire.Lookup("host/unknown.example", 9))
    assert rig.sent(wire.Found, "n3") == [wire.Found("host/unknown.example", 9)]


def test_keepers_enter_hosts_again_when_electors_change(rig: Rig) -> None:
    one = capsule_for(("n1", "n2", "n3", "n4"), lambda electors: "n1" in electors[:3])
    rig.know(record(one, routes=(Route("shop.example", "/api"),)))
    entered = rig.sent(wire.HostEntry)
    assert {(m.host, decode_record(m.record.data).name) for m in entered} == {("shop.example", one)}
    assert ("shop.example", "/api", one) in rig.did(ef.SetRoutes)[0].routes
    rig.meet("n4")
    assert "n4" in rig.receivers(wire.HostEntry)


def test_an_elector_that_does_not_watch_the_orbit_is_handed_the_record() -> None:
    rig = Rig()
    rig.begin()
    name = capsule_for(("n1", "n2"), lambda e: e[0] == "n1")
    rig.meet("n2", orbits=("other",))
    rig.hear("n2", wire.Announce(signed(record(name))))
    assert rig.sent(wire.Records, "n2") == [handed(signed(record(name)))]


def test_a_node_watches_only_its_orbits() -> None:
    rig = Rig(place=Place(orbits=("gpu", "default")))
    rig.begin()
    assert [s.topic for s in rig.did(ef.Subscribe)] == [
        "/falak/1/heartbeat/main", "/falak/1/orbit/gpu", "/falak/1/orbit/default",
    ]  # fmt: skip


def test_a_first_sync_comes_in_batches_below_the_limit() -> None:
    rig = Rig()
    rig.begin()
    rig.meet("n2")
    many = [record(f"c{i}", env=(("A", "x" * 10_000),)) for i in range(120)]
    for some in (many[:50], many[50:100], many[100:]):
        rig.know(*some)
    rig.link("n3")
    rig.hear("n3", wire.Hello(profile("n3"), joining=True))
    batches = rig.sent(wire.Records, "n3")
    assert sum(len(b.records) for b in batches) == 120 and len(batches) >= 3
    assert all(len(wire.encode(b)) < MESSAGE_MAX_BYTES for b in batches)
    assert {encode_record(r) for r in many} == {r.data for b in batches for r in b.records}


def test_a_record_is_stored_when_its_own_bytes_are_on_disk(rig: Rig) -> None:
    """Two generations on their way to the disk: the first one's end says nothing of the second."""
    name = capsule_for(("n1", "n2", "n3"), lambda electors: True)
    node = rig.node
    for generation in (1, 2):
        message = wire.Announce(signed(record(name, generation)))
        node.step(ev.Received("n2-id", message), rig.now)  # nobody answers its effects
    node.step(ev.Persisted(f"record/{name}"), rig.now)
    assert not node.orbits.is_kept(name)
    node.step(ev.Persisted(f"record/{name}"), rig.now)
    assert node.orbits.is_kept(name)
