"""What is on a keeper's disk: newest and previous records, tombstones, and a disk that takes nothing."""

import msgspec
import pytest

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.model import SignedRecord
from falak.core.settings import AWAY_MAX_S, TOMBSTONE_S, Settings
from tests.unit.core.rig import ARTIFACT, ROOM, Rig, capsule_for, profile, record, signed

FIVE = ("n1", "n2", "n3", "n4", "n5")
OURS = capsule_for(FIVE, lambda e: e[0] == "n1")
WALL = 1_800_000_000.0


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.begin()
    made.meet(*FIVE[1:])
    return made


def stored(rig: Rig, prefix: str) -> dict[str, bytes]:
    return {p.key: p.value for p in rig.did(ef.Persist) if p.key.startswith(prefix)}


def heartbeat(rig: Rig, name: str, cannot_store: bool) -> None:
    rig.hear(name, wire.Heartbeat(profile(name, cannot_store=cannot_store), 1))


def test_a_keeper_stores_the_newest_and_the_one_before(rig: Rig) -> None:
    first, second = signed(record(OURS)), signed(record(OURS, 2))
    rig.hear("n2", wire.Announce(first))
    rig.hear("n2", wire.Announce(second))
    assert stored(rig, "record/") == {f"record/{OURS}": msgspec.msgpack.encode(second)}
    assert stored(rig, "previous/") == {f"previous/{OURS}": msgspec.msgpack.encode(first)}
    rig.hear("n3", wire.Lookup(f"previous/{OURS}", 9))
    assert rig.sent(wire.Found, "n3") == [wire.Found(f"previous/{OURS}", 9, OURS, 0, first)]


def test_a_tombstone_takes_the_place_of_both(rig: Rig) -> None:
    for generation in (1, 2):
        rig.hear("n2", wire.Announce(signed(record(OURS, generation))))
    tomb = signed(record(OURS, 3, withdrawn=True))
    rig.hear("n2", wire.Announce(tomb))
    assert stored(rig, "record/") == {f"record/{OURS}": msgspec.msgpack.encode(tomb)}
    assert stored(rig, "previous/") == {f"previous/{OURS}": b""}
    assert rig.node.orbits.get(OURS) is None and rig.node.orbits.is_kept(OURS)


def test_previous_records_are_bounded() -> None:
    rig = Rig(Settings(records_max=2))
    rig.begin()
    for name in ("a", "b"):
        for generation in (1, 2):
            rig.hear("n2", wire.Announce(signed(record(name, generation))))
    rig.hear("n2", wire.Announce(signed(record("a", 3, withdrawn=True))))
    rig.hear("n2", wire.Announce(signed(record("c", 1))))
    rig.hear("n2", wire.Announce(signed(record("c", 2))))
    assert sorted(rig.node.orbits.keeping.previous) == ["b", "c"]


def test_a_disk_that_takes_nothing_is_said_and_another_keeps(rig: Rig) -> None:
    before = rig.node.orbits.keepers_of(OURS)
    rig.disk_why = "no space left on device"
    rig.hear("n2", wire.Keep(signed(record(OURS))))
    assert rig.notes("node.disk_failed") == [{"reason": "no space left on device"}]
    assert rig.sent(wire.Kept, "n2")[0].why == "no space left on device"
    assert rig.node.profile().cannot_store
    after = rig.node.orbits.keepers_of(OURS)
    assert "n1-id" in before and "n1-id" not in after and len(after) == 3
    rig.disk_why = ""
    rig.wait(31.0, alive=FIVE[1:])
    assert not rig.node.profile().cannot_store and rig.node.orbits.keepers_of(OURS) == before
    assert rig.node.orbits.is_kept(OURS)


def test_others_disks_move_keepers(rig: Rig) -> None:
    second = rig.node.orbits.keepers_of(OURS)[1]
    heartbeat(rig, second.removesuffix("-id"), cannot_store=True)
    assert second not in rig.node.orbits.keepers_of(OURS)
    for name in FIVE[1:]:
        heartbeat(rig, name, cannot_store=True)
    rig.disk_why = "read-only file system"
    rig.tell(ev.Persisted("book", "read-only file system"))
    assert len(rig.node.orbits.keepers_of(OURS)) == 3  # nobody can: then whoever would


def test_a_publisher_asks_the_next_elector_where_a_keeper_cannot() -> None:
    rig = Rig()
    rig.begin()
    rig.meet(*FIVE[1:])
    rig.tell(ev.Publish(1, record("c", 0)))
    for name in FIVE[1:]:
        rig.hear(name, wire.Found("c", 1))
    keepers = [k for k in rig.node.orbits.keepers_of("c") if k != "n1-id"]
    others = [e for e in rig.node.orbits.electors_of("c") if e not in (*keepers, "n1-id")]
    asked = keepers[0].removesuffix("-id")
    held = rig.node.orbits.records["c"]
    rig.hear(asked, wire.Kept("c", held.digest, "its disk is full"))
    assert others[0].removesuffix("-id") in rig.receivers(wire.Keep)


# --- what the disk kept, and how long ago --------------------------------------------------------------------


def began(away_s: float, contacts: tuple[str, ...] = ("/n2",)) -> Rig:
    rig = Rig()
    kept: tuple[SignedRecord, ...] = (signed(record(OURS, artifacts=(ARTIFACT,))),)
    rig.begin(contacts, kept=kept, away_s=away_s, artifacts=(ARTIFACT.digest,))
    return rig


def test_what_the_disk_kept_is_taken_up_after_a_short_absence() -> None:
    assert OURS in began(AWAY_MAX_S - 1.0).node.orbits.records


def test_after_a_long_absence_it_is_asked_for_first() -> None:
    rig = began(AWAY_MAX_S + 1.0)
    assert OURS not in rig.node.orbits.records
    rig.meet("n2")
    rig.hear("n2", wire.Welcome((profile("n2"),)))
    assert rig.node.members.joined and OURS not in rig.node.orbits.records
    assert rig.count("records_discarded") == 1 and ef.Persist(f"record/{OURS}", b"") in rig.effects


def test_after_a_long_absence_of_everybody_nothing_is_lost() -> None:
    rig = began(AWAY_MAX_S + 1.0)
    rig.wait(11.0)
    assert rig.node.members.joined and OURS in rig.node.orbits.records


def test_that_it_had_company_is_written_down_once_an_hour(rig: Rig) -> None:
    rig.tell(ev.Sampled(ROOM, wall_s=WALL))
    rig.wait(60.0, alive=FIVE[1:])
    rig.wait(1.0)
    assert not stored(rig, "met")
    alone = Rig()
    alone.begin()
    alone.tell(ev.Sampled(ROOM, wall_s=WALL))
    alone.wait(60.0)
    assert not stored(alone, "met")
    met = Rig()
    met.begin()
    met.meet("n2")
    met.tell(ev.Sampled(ROOM, wall_s=WALL))
    met.wait(9.5, alive=("n2",))
    met.wait(1.0)
    assert stored(met, "met") == {"met": b"1800000010"}


def test_tombstones_are_forgotten_after_their_time() -> None:
    rig = Rig()
    rig.begin()
    rig.tell(ev.Sampled(ROOM, wall_s=WALL))
    rig.hear("n2", wire.Announce(signed(record("c", 2, withdrawn=True, not_after_s=int(WALL) + TOMBSTONE_S))))
    rig.wait(7300.0)
    assert "c" in rig.node.orbits.tombstones
    rig.tell(ev.Sampled(ROOM, wall_s=WALL + TOMBSTONE_S + 1))
    rig.wait(3700.0)
    assert "c" not in rig.node.orbits.tombstones and ef.Persist("record/c", b"") in rig.effects
