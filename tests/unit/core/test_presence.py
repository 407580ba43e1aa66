"""How long records are visible: renewal, expiry, previews, ``not_after``, and clocks that are set."""

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.model import Record
from falak.core.presence import ENTRIES_MAX, OVER_MAX
from falak.core.settings import GOSSIP_MAX_BYTES, RENEWAL_JUMP_MAX, TTL_MIN_S
from tests.unit.core.rig import ROOM, Rig, capsule_for, record, signed

ALL = ("n1", "n2", "n3")
WALL = 1_800_000_000.0
OURS = capsule_for(ALL, lambda e: e[0] == "n1")
THEIRS = capsule_for(ALL, lambda e: e[0] == "n2")


def announce(rig: Rig, what: Record, publisher: str = "n2-id") -> bytes:
    word = signed(what, publisher)
    rig.hear("n2", wire.Announce(word))
    return word.digest


def renew(rig: Rig, digest: bytes, counter: int, by: str = "n2") -> None:
    rig.hear(by, wire.Renewals(((digest, counter),)))


def gossiped(rig: Rig) -> list[wire.Renewals]:
    return [e.message for e in rig.did(ef.Gossip) if isinstance(e.message, wire.Renewals)]


def alive(rig: Rig, name: str) -> bool:
    return name in rig.node.orbits.records


def test_the_first_keeper_renews_three_times_in_a_ttl(rig: Rig) -> None:
    digest = announce(rig, record(OURS, ttl_s=30))
    rig.wait(100.0, alive=("n2", "n3"))
    assert alive(rig, OURS)
    rig.wait(9.0, alive=("n2", "n3"))
    rig.wait(10.5)
    (said,) = gossiped(rig)
    assert said.entries[0][0] == digest and said.entries[0][1] in (11, 12)  # by when it began


def test_who_is_not_the_first_keeper_says_nothing_and_lets_it_expire(rig: Rig) -> None:
    announce(rig, record(THEIRS, ttl_s=30))
    rig.wait(29.5, alive=("n2", "n3"))
    assert not gossiped(rig) and alive(rig, THEIRS)
    rig.wait(1.0)
    assert rig.notes("capsule.expired") == [
        {"capsule": THEIRS, "generation": 1, "reason": "it was not renewed for 30 s"}
    ]
    assert not alive(rig, THEIRS) and rig.did(ef.SetRoutes) == [ef.SetRoutes(())]


def test_an_expired_record_leaves_the_disk(rig: Rig) -> None:
    announce(rig, record(THEIRS, ttl_s=30))
    rig.wait(31.0, alive=("n2", "n3"))
    assert not alive(rig, THEIRS)
    rig = Rig()
    rig.begin()
    rig.meet("n2", "n3")
    announce(rig, record(THEIRS, ttl_s=30))
    rig.wait(29.0, alive=("n2", "n3"))
    rig.wait(2.0)
    assert ef.Persist(f"record/{THEIRS}", b"") in rig.effects


def test_only_a_new_counter_prolongs(rig: Rig) -> None:
    digest = announce(rig, record(THEIRS, ttl_s=30))
    renew(rig, digest, 1)
    rig.wait(20.0, alive=("n2", "n3"))
    renew(rig, digest, 1)  # again: the same word
    rig.wait(9.0, alive=("n2", "n3"))
    assert alive(rig, THEIRS)
    rig.wait(2.0)
    assert not alive(rig, THEIRS)


def test_a_counter_that_jumps_is_refused_and_counted(rig: Rig) -> None:
    digest = announce(rig, record(THEIRS, ttl_s=30))
    renew(rig, digest, 1)
    renew(rig, digest, 3)
    assert rig.count("renewal_jumped") == 1 and rig.node.orbits.presence.visible(THEIRS).counter == 1
    renew(rig, digest, 2)
    assert rig.node.orbits.presence.visible(THEIRS).counter == 2
    renew(rig, digest, 2**50)
    renew(rig, digest, 2**50 + 1)
    assert rig.node.orbits.presence.visible(THEIRS).counter == 2  # so far ahead nobody vouches for it


def test_a_jump_is_believed_once_its_successor_follows(rig: Rig) -> None:
    """So a partition in which both sides renewed heals."""
    digest = announce(rig, record(THEIRS, ttl_s=30))
    renew(rig, digest, 1)
    renew(rig, digest, 7)
    rig.wait(10.0, alive=("n2", "n3"))
    renew(rig, digest, 8)
    assert rig.node.orbits.presence.visible(THEIRS).counter == 8


def test_a_renewal_that_was_lost_is_no_jump(rig: Rig) -> None:
    digest = announce(rig, record(THEIRS, ttl_s=30))
    renew(rig, digest, 1)
    rig.wait(20.0, alive=("n2", "n3"))
    renew(rig, digest, 3)
    assert rig.count("renewal_jumped") == 0
    rig.wait(29.0, alive=("n2", "n3"))
    assert alive(rig, THEIRS)


def test_a_keeper_that_is_behind_is_told_and_renews_again(rig: Rig) -> None:
    digest = announce(rig, record(THEIRS, ttl_s=30))
    renew(rig, digest, 40)
    renew(rig, digest, 2)
    assert rig.sent(wire.Renewals, "n2") == [wire.Renewals(((digest, 40),), True)]
    digest = announce(rig, record(OURS, ttl_s=30))
    rig.hear("n3", wire.Renewals(((digest, 40),), True))
    assert gossiped(rig) == [wire.Renewals(((digest, 41),))]
    rig.hear("n3", wire.Renewals(((digest, 41 + RENEWAL_JUMP_MAX + 1),), True))
    assert not gossiped(rig) and rig.count("renewal_jumped") == 1


def test_a_preview_is_renewed_by_its_publisher_alone(rig: Rig) -> None:
    digest = announce(rig, record(OURS, ttl_s=30, keep=False), "n3-id")
    rig.wait(20.0, alive=("n2", "n3"))
    assert not gossiped(rig)
    renew(rig, digest, 1, by="n2")
    assert rig.count("renewal_foreign") == 1
    renew(rig, digest, 1, by="n3")
    rig.wait(25.0, alive=("n2", "n3"))
    assert alive(rig, OURS)
    rig.wait(6.0)
    assert not alive(rig, OURS)


def test_what_is_handed_over_is_visible_for_what_was_left_of_it(rig: Rig) -> None:
    word = signed(record(THEIRS, ttl_s=300))
    rig.hear("n3", wire.Records((word,), (wire.Visible(5, 4000),)))
    assert rig.node.orbits.presence.visible(THEIRS) == wire.Visible(5, 4000)
    rig.wait(5.0, alive=("n2", "n3"))
    assert not alive(rig, THEIRS)
    rig.hear("n3", wire.Records((word,), (wire.Visible(5, 4000),)))
    assert not alive(rig, THEIRS) and rig.count("record_over") == 1  # a slower node does not bring it back
    rig.hear("n3", wire.Records((word,), (wire.Visible(6, 4000),)))
    assert alive(rig, THEIRS)  # but one that heard a later renewal does


def test_the_same_content_is_published_anew_after_it_expired(rig: Rig) -> None:
    announce(rig, record(THEIRS, 4, ttl_s=30))
    rig.wait(31.0, alive=("n2", "n3"))
    assert not alive(rig, THEIRS) and rig.node.orbits.generation_of(THEIRS) == 4


def test_what_is_over_is_remembered_in_a_bounded_memory(rig: Rig) -> None:
    presence = rig.node.orbits.presence
    for number in range(OVER_MAX + 10):
        what = record(f"x{number}", ttl_s=30)
        presence.take(what, b"%16d" % number, None)
        presence.over(what.name, 1)
    assert presence.sizes()["records over"] == (OVER_MAX, OVER_MAX)


def test_a_nonsensical_ttl_is_taken_for_the_nearest_sound_one(rig: Rig) -> None:
    announce(rig, record(THEIRS, ttl_s=0))
    rig.wait(TTL_MIN_S - 1.0, alive=("n2", "n3"))
    assert alive(rig, THEIRS)
    announce(rig, record("a", ttl_s=2**53))
    assert alive(rig, "a")


def test_renewals_are_batched_and_fit_into_gossip() -> None:
    rig = Rig()
    rig.begin()
    for number in range(ENTRIES_MAX + 100):
        announce(rig, record(f"x{number}", ttl_s=30))
    rig.wait(10.0)
    sizes = [len(message.entries) for message in gossiped(rig)]
    assert sizes == [ENTRIES_MAX, 100]
    assert max(len(wire.encode(message)) for message in gossiped(rig)) < GOSSIP_MAX_BYTES


def test_ten_thousand_capsules_stay_within_the_heartbeats_budget() -> None:
    """Received by a node of a cell where each keeper renews its share, five copies of a gossiped message."""
    entry, envelope, copies, nodes, ttl_s = 30, 300, 5, 256, 300
    assert (
        len(wire.encode(wire.Renewals(((b"x" * 16, 2**32),) * 10)))
        - len(wire.encode(wire.Renewals(((b"x" * 16, 2**32),) * 9)))
        <= entry
    )
    bytes_s = copies * (10_000 * entry + nodes * envelope) / (ttl_s / 3)
    assert bytes_s < 20_000


def test_a_renewal_of_an_unknown_record_has_it_asked_for(rig: Rig) -> None:
    renew(rig, b"y" * 16, 3)
    assert rig.sent(wire.RecordsAsked, "n2") == [wire.RecordsAsked((), (b"y" * 16,))]


def test_a_node_that_stood_still_hears_what_it_missed_before_it_lets_anything_expire(rig: Rig) -> None:
    digest = announce(rig, record(THEIRS, ttl_s=30))
    renew(rig, digest, 1)
    rig.now += 100.0
    rig.tell(ev.Stalled(100.0))
    assert alive(rig, THEIRS)
    renew(rig, digest, 4)
    rig.wait(20.0, alive=("n2", "n3"))
    assert alive(rig, THEIRS)


# --- wall time ---------------------------------------------------------------------------------------------


def clock(rig: Rig, wall_s: float) -> None:
    rig.tell(ev.Sampled(ROOM, wall_s=wall_s))


def test_not_after_ends_a_record_for_good(rig: Rig) -> None:
    clock(rig, WALL)
    word = signed(record(OURS, not_after_s=int(WALL) + 40))
    rig.hear("n2", wire.Announce(word))
    rig.wait(39.0, alive=("n2", "n3"))
    assert alive(rig, OURS)
    rig.wait(2.0)
    assert rig.notes("capsule.expired")[0]["reason"] == "its not_after has passed"
    rig.hear("n2", wire.Announce(signed(record(OURS, 2, not_after_s=int(WALL) + 40))))
    assert not alive(rig, OURS) and rig.count("record_past_not_after") == 1


def test_without_a_clock_nothing_ends_by_it() -> None:
    rig = Rig()
    rig.begin()
    announce(rig, record("c", not_after_s=1))
    rig.wait(120.0)
    assert alive(rig, "c")


def test_a_clock_set_back_and_forth_does_no_harm_beyond_not_after(rig: Rig) -> None:
    clock(rig, WALL)
    announce(rig, record(OURS, ttl_s=30))
    announce(rig, record(THEIRS, ttl_s=30, not_after_s=int(WALL) + 1800))
    digest = rig.node.orbits.records[THEIRS].digest
    for round_, off_s in enumerate((0.0, -3600.0, 0.0, 3600.0, 0.0), 1):
        clock(rig, WALL + off_s)
        renew(rig, digest, round_)
        rig.wait(10.0, alive=("n2", "n3"))
        assert alive(rig, OURS)
    clock(rig, WALL + 3600.0)
    rig.wait(250.0, alive=("n2", "n3"))
    assert alive(rig, OURS) and not alive(rig, THEIRS)


def test_a_launch_past_its_not_after_is_refused(rig: Rig) -> None:
    clock(rig, WALL)
    rig.tell(ev.Publish(1, record("c", 0, not_after_s=int(WALL) - 1)))
    assert rig.did(ef.Published)[0].why == "its not_after has passed"
