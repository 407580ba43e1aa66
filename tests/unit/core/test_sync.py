"""Anti-entropy: sums that differ lead to what differs, both ways, bounded; equal ones to nothing."""

import pytest

from falak.core import effects as ef
from falak.core import wire
from falak.core.inventory import BUCKETS, Inventory, bucket_of
from falak.core.model import Record
from falak.core.sync import ASKED_MAX, ENTRIES_MAX, ROUNDS_MAX
from tests.unit.core.rig import Rig, profile, record, signed


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.begin()
    made.meet("n2")
    return made


def know(rig: Rig, *records: Record) -> None:
    rig.know(*records)


def entry(what: Record) -> tuple[str, int, bytes]:
    return (what.name, what.generation, signed(what).digest)


def compared(rig: Rig) -> wire.Compare:
    (sent,) = rig.sent(wire.Compare, "n2")
    return sent


def ask(rig: Rig, *others: Record) -> list[wire.Differs]:
    """The other has these records, and compares."""
    theirs = Inventory()
    for what in others:
        theirs.put(what.orbit, *entry(what))
    rig.wait(0.2)
    rig.hear("n2", wire.Compare(("default",), theirs.sums(("default",))))
    return rig.sent(wire.Differs, "n2")


def test_sums_are_the_same_for_the_same_set_in_any_order() -> None:
    one, other = Inventory(), Inventory()
    entries = [entry(record(f"c{n}")) for n in range(200)]
    for name, generation, digest in entries:
        one.put("default", name, generation, digest)
    for name, generation, digest in reversed(entries):
        other.put("gpu", name, 9, b"z" * 16)
        other.put("default", name, generation, digest)
    assert one.sums(("default",)) == other.sums(("default", "gpu"))
    other.drop("c7")
    assert [at for at in range(BUCKETS) if one.sums(("default",))[at] != other.sums(("default",))[at]] == [
        bucket_of("c7")
    ]
    assert len(other) == 199


def test_a_round_every_ten_seconds_with_somebody(rig: Rig) -> None:
    know(rig, record("a"))
    rig.wait(9.0, alive=("n2",))
    rig.wait(1.5)
    assert compared(rig).orbits == ("default",)


def test_a_node_alone_or_with_watchers_of_other_orbits_compares_with_nobody() -> None:
    rig = Rig()
    rig.begin()
    rig.meet("n2", orbits=("gpu",))
    rig.wait(9.0, alive=())
    rig.wait(20.0)
    assert not rig.sent(wire.Compare)


def test_equal_sums_are_not_answered(rig: Rig) -> None:
    know(rig, record("a"), record("b", 3))
    assert ask(rig, record("a"), record("b", 3)) == []


def test_what_differs_is_listed(rig: Rig) -> None:
    know(rig, record("a"), record("b", 3))
    (told,) = ask(rig, record("a"), record("b", 2))
    assert told.entries == (entry(record("b", 3)),) and told.buckets == (bucket_of("b"),)
    (told,) = ask(rig, record("a"), record("b", 3), record("new"))
    assert bucket_of("new") in told.buckets


def test_tombstones_count_and_times_do_not(rig: Rig) -> None:
    know(rig, record("a"))
    assert ask(rig, record("a", 2, withdrawn=True))
    rig.wait(3.0)
    assert not ask(rig, record("a"))


def test_both_sides_get_what_they_lack(rig: Rig) -> None:
    know(rig, record("both"), record("ours"), record("newer", 5), record("older", 1))
    rig.node.sync.with_peer("n2-id")
    theirs = [entry(record("both")), entry(record("newer", 4)), entry(record("older", 2)), entry(record("new"))]
    rig.hear("n2", wire.Differs(("default",), tuple(range(BUCKETS)), tuple(theirs)))
    (given,) = rig.sent(wire.Records, "n2")
    assert {signed(record("ours")), signed(record("newer", 5))} == set(given.records)
    assert rig.sent(wire.RecordsAsked, "n2") == [wire.RecordsAsked(("older", "new"))]
    rig.wait(0.6)
    assert compared(rig)  # once more, until nothing differs


def test_what_nobody_asked_for_is_counted(rig: Rig) -> None:
    rig.hear("n2", wire.Differs((), (), ()))  # the answer to what was compared when they met
    rig.hear("n2", wire.Differs(("default",), (1,), (entry(record("x")),)))
    assert rig.count("sync_unasked") == 1 and not rig.sent(wire.RecordsAsked)


def test_rounds_in_a_row_are_bounded(rig: Rig) -> None:
    rig.node.sync.with_peer("n2-id")
    for _ in range(ROUNDS_MAX + 5):
        rig.hear("n2", wire.Differs(("default",), (bucket_of("x"),), (entry(record("x")),)))
        rig.wait(0.55)
        heard = [m for m in rig.sent(wire.Compare, "n2")]
    assert not heard


def test_a_peer_that_compares_all_the_time_is_not_answered_all_the_time(rig: Rig) -> None:
    know(rig, record("a"))
    rig.wait(0.2)
    for _ in range(5):
        rig.hear("n2", wire.Compare(("default",), ()))
    assert rig.count("sync_too_often") == 4


def test_answers_are_bounded(rig: Rig) -> None:
    know(rig, *(record(f"c{n}") for n in range(ENTRIES_MAX + 500)))
    (told,) = ask(rig)
    assert len(told.entries) <= ENTRIES_MAX and len(told.buckets) < BUCKETS
    rig.node.sync.with_peer("n2-id")
    many = tuple((f"x{n}", 1, b"%16d" % n) for n in range(3 * ASKED_MAX))
    rig.hear("n2", wire.Differs(("default",), tuple(range(BUCKETS)), many))
    assert len(rig.sent(wire.RecordsAsked, "n2")[0].names) == ASKED_MAX


def test_records_are_given_by_name_and_digest_with_what_is_left_of_them(rig: Rig) -> None:
    know(rig, record("a"), record("b"))
    rig.hear("n2", wire.RecordsAsked(("a", "unknown"), (signed(record("b")).digest, b"?" * 16)))
    (given,) = rig.sent(wire.Records, "n2")
    assert given.records == (signed(record("a")), signed(record("b")))
    assert given.visible == (wire.Visible(0, 300_000),) * 2


def test_whoever_hands_over_an_older_record_is_given_the_newer(rig: Rig) -> None:
    know(rig, record("a", 2, withdrawn=True))
    rig.hear("n2", wire.Records((signed(record("a")),)))
    assert rig.sent(wire.Records, "n2")[0].records == (signed(record("a", 2, withdrawn=True)),)
    assert rig.node.orbits.get("a") is None


def test_a_member_that_is_back_is_compared_with_at_once() -> None:
    rig = Rig()
    rig.begin()
    rig.link("n2")
    rig.hear("n2", wire.Hello(profile("n2")))
    assert compared(rig)
    assert not [e for e in rig.effects if isinstance(e, ef.Gossip)]
