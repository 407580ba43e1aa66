"""Withdrawal, rollback, and records at risk: what a person asks for, and what nodes do when one is lost."""

import pytest

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.model import Record, decode_record
from falak.core.settings import TOMBSTONE_S
from tests.unit.core.rig import ROOM, Rig, capsule_for, claim, record, signed

ALL = ("n1", "n2", "n3")
WALL = 1_800_000_000.0


def announce(rig: Rig, *args: object, **fields: object) -> None:
    rig.hear("n2", wire.Announce(signed(record(*args, **fields))))  # type: ignore[arg-type]


def found(rig: Rig, key: str, generation: int, *records: Record) -> None:
    """Both others answer an inquiry."""
    token = next(m.token for m in rig.sent(wire.Lookup, "n2") if m.key == key)
    word = signed(records[0]) if records else None
    both(rig, wire.Found(key, token, records[0].name if records else "", generation, word))


def both(rig: Rig, message: wire.Message) -> None:
    rig.effects = rig.hear("n2", message) + rig.hear("n3", message)


def published(rig: Rig) -> ef.Published:
    (told,) = rig.did(ef.Published)
    return told


def gossiped(rig: Rig) -> list[Record]:
    said = [e.message for e in rig.did(ef.Gossip) if isinstance(e.message, wire.Announce)]
    return [decode_record(message.record.data) for message in said]


def test_a_withdrawal_is_the_next_generation_and_says_so(rig: Rig) -> None:
    rig.tell(ev.Sampled(ROOM, wall_s=WALL))
    announce(rig, "c", 3, ttl_s=30)
    rig.tell(ev.Withdraw(7, "c"))
    found(rig, "c", 3, record("c", 3, ttl_s=30))
    (tomb,) = gossiped(rig)
    assert tomb == Record("c", 4, "", "default", withdrawn=True, not_after_s=int(WALL) + TOMBSTONE_S)
    assert rig.notes("capsule.withdrawn") == [{"capsule": "c", "generation": 4, "publisher": "n1"}]
    digest = rig.node.orbits.tombstones["c"].digest
    for name in ("n2", "n3"):
        rig.hear(name, wire.Kept("c", digest))
    assert published(rig) == ef.Published(7, "c", 4, ("n2", "n3"), True)
    rig.wait(100.0, alive=("n2", "n3"))
    assert "c" in rig.node.orbits.tombstones  # it does not expire


def test_what_nobody_knows_cannot_be_withdrawn(rig: Rig) -> None:
    rig.tell(ev.Withdraw(7, "c"))
    found(rig, "c", 0)
    assert "no capsule of this name orbits" in published(rig).why


def test_what_is_withdrawn_stays_so(rig: Rig) -> None:
    announce(rig, "c", 2, withdrawn=True)
    rig.tell(ev.Withdraw(7, "c"))
    found(rig, "c", 2, record("c", 2, withdrawn=True))
    digest = rig.node.orbits.tombstones["c"].digest
    for name in ("n2", "n3"):
        rig.hear(name, wire.Kept("c", digest))
    assert published(rig) == ef.Published(7, "c", 2, ("n2", "n3"), False)


@pytest.mark.parametrize("generation", [1, 2])
def test_a_tombstone_of_an_older_generation_changes_nothing(rig: Rig, generation: int) -> None:
    announce(rig, "c", 3)
    announce(rig, "c", generation, withdrawn=True)
    assert rig.node.orbits.get("c") == record("c", 3) and not rig.node.orbits.tombstones


def test_tombstones_of_unknown_names_are_kept_and_bounded(rig: Rig) -> None:
    announce(rig, "c", 9, withdrawn=True)
    announce(rig, "c", 8)
    assert rig.node.orbits.get("c") is None and rig.node.orbits.generation_of("c") == 9
    announce(rig, "c", 10)
    assert rig.node.orbits.get("c") == record("c", 10) and not rig.node.orbits.tombstones


def test_a_launch_after_a_withdrawal_is_a_higher_generation(rig: Rig) -> None:
    announce(rig, "c", 9, withdrawn=True)
    rig.tell(ev.Publish(1, record("c", 0)))
    found(rig, "c", 9, record("c", 9, withdrawn=True))
    assert gossiped(rig) == [record("c", 10)]


def test_copies_end_and_claims_of_others_are_told(rig: Rig) -> None:
    announce(rig, "c", 1)
    rig.hear("n3", wire.Claimed(claim("c", "n3"), ROOM))
    announce(rig, "c", 2, withdrawn=True)
    assert rig.node.claims.live("c") == []
    rig.hear(
        "n3", wire.Claimed(claim("c", "n3", sequence=2), ROOM)
    )  # it has not heard: it is handed the tombstone
    assert rig.sent(wire.Records, "n3")[0].records == (signed(record("c", 2, withdrawn=True)),)


def test_a_rollback_is_old_content_with_a_higher_generation(rig: Rig) -> None:
    announce(rig, "c", 1, version="old")
    announce(rig, "c", 2, version="new")
    rig.tell(ev.Rollback(7, "c"))
    found(rig, "c", 2, record("c", 2, version="new"))
    both(rig, wire.Found("previous/c", 2, "c", 0, signed(record("c", 1, version="old"))))
    both(rig, wire.Found("c", 3, "c", 2))
    assert gossiped(rig) == [record("c", 3, version="old")]
    assert rig.node.orbits.get("c") == record("c", 3, version="old")


def test_a_rollback_of_what_has_nothing_before_it_is_refused(rig: Rig) -> None:
    announce(rig, "c", 1)
    rig.tell(ev.Rollback(7, "c"))
    rig.wait(1.0)
    assert "no node here has the generation before 1" in published(rig).why
    rig.tell(ev.Rollback(8, "unknown"))
    rig.wait(1.0)
    assert "no capsule of this name" in published(rig).why


# --- at risk -----------------------------------------------------------------------------------------------


FIVE = ("n1", "n2", "n3", "n4", "n5")


def five() -> Rig:
    rig = Rig()
    rig.begin()
    rig.meet(*FIVE[1:])
    return rig


def leave(rig: Rig, name: str) -> None:
    rig.hear(name, wire.Goodbye(1, 1))


def test_the_first_keeper_left_says_that_a_record_is_at_risk_and_gossips_it() -> None:
    rig = five()
    name = capsule_for(FIVE, lambda e: e[:2] == ["n2", "n1"])
    rig.hear("n2", wire.Announce(signed(record(name))))
    leave(rig, "n2")
    assert rig.notes("capsule.at_risk") == [{"capsule": name, "keepers": 2, "reason": "n2 kept it"}]
    assert rig.notes("capsule.regossiped") == [{"capsule": name, "generation": 1}]
    assert gossiped(rig) == [record(name)]


def test_others_keep_silent_and_new_keepers_store() -> None:
    rig = five()
    name = capsule_for(FIVE, lambda e: e[:4] == ["n2", "n3", "n4", "n1"])
    rig.hear("n2", wire.Announce(signed(record(name))))
    assert not [p for p in rig.did(ef.Persist) if p.key.startswith("record/")]
    leave(rig, "n2")
    assert not rig.notes("capsule.at_risk")
    assert [p.key for p in rig.did(ef.Persist) if p.key.startswith("record/")] == [f"record/{name}"]


def test_a_lost_node_that_kept_nothing_of_it_is_no_risk() -> None:
    rig = five()
    name = capsule_for(FIVE, lambda e: e[0] == "n1" and e[4] == "n5")
    rig.hear("n2", wire.Announce(signed(record(name))))
    leave(rig, "n5")
    assert not rig.notes("capsule.at_risk")


def test_a_last_copy_lost_is_a_risk() -> None:
    rig = five()
    name = capsule_for(FIVE, lambda e: e[0] == "n1" and e[4] == "n5")
    rig.hear("n2", wire.Announce(signed(record(name))))
    rig.hear("n5", wire.Claimed(claim(name, "n5"), ROOM))
    leave(rig, "n5")
    assert rig.notes("capsule.at_risk") == [{"capsule": name, "keepers": 3, "reason": "n5 ran its last copy"}]


def test_gossiping_again_is_paced() -> None:
    rig = five()
    names = [f"x{n}" for n in range(200)]
    rig.know(*(record(name) for name in names))
    leave(rig, "n2")
    at_once = len(gossiped(rig))
    risks = len(rig.notes("capsule.at_risk"))
    rig.wait(1.0)
    assert at_once == 1 and risks > 25 and 15 <= len(gossiped(rig)) <= 21
