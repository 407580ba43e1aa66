"""How a node joins with 1, 2 and 3 contacts, whom it takes in, and whom it refuses with a reason."""

import pytest

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.model import Profile
from falak.core.settings import CELL_MAX
from tests.unit.core.rig import Rig, profile, record, signed


def joined(rig: Rig) -> list[ef.Joined]:
    return rig.did(ef.Joined)


def contacts(count: int) -> tuple[str, ...]:
    return tuple(f"/n{i}" for i in range(2, 2 + count))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_welcome_of_one_contact_is_enough(count: int) -> None:
    rig = Rig()
    rig.begin(contacts(count), must_join=True)
    assert [d.address for d in rig.did(ef.Dial)] == list(contacts(count)) and not joined(rig)
    rig.meet("n2")
    assert rig.sent(wire.Hello) == [] and not joined(rig)
    rig.hear("n2", wire.Welcome((profile("n2"),)))
    assert joined(rig) == [ef.Joined()] and rig.node.members.joined


def test_it_meets_the_members_first() -> None:
    rig = Rig()
    rig.begin(("/n2",))
    rig.meet("n2")
    rig.hear("n2", wire.Welcome((profile("n2"), profile("n3"), profile("n4"))))
    assert [d.peer for d in rig.did(ef.Dial)] == ["n3-id", "n4-id"] and not joined(rig)
    rig.meet("n3")
    assert not joined(rig)
    rig.tell(ev.DialFailed("n4-id", "/n4", True, "refused"))
    assert joined(rig) == [ef.Joined()]


def test_members_that_cannot_be_met_are_waited_for_a_quarter_of_a_second() -> None:
    rig = Rig()
    rig.begin(("/n2",))
    rig.meet("n2")
    rig.hear("n2", wire.Welcome((profile("n2"), profile("n3"))))
    rig.wait(0.24)
    assert not rig.node.members.joined
    rig.wait(0.02)
    assert rig.node.members.joined


def test_it_asks_to_join_until_somebody_answered() -> None:
    rig = Rig()
    rig.begin(("/n2",))
    rig.link("n2")
    assert [h.joining for h in rig.sent(wire.Hello, "n2")] == [True]
    rig.hear("n2", wire.Hello(profile("n2")))
    rig.wait(1.3)  # the welcome was lost
    assert [h.joining for h in rig.sent(wire.Hello, "n2")] == [True]
    rig.hear("n2", wire.Welcome((profile("n2"), profile("n3"))))
    rig.link("n3")
    assert [h.joining for h in rig.sent(wire.Hello, "n3")] == [False]


@pytest.mark.parametrize(
    ("must_join", "met", "why"),
    [
        (True, False, "no node answered at /n2: is one running there, and reachable?"),
        (True, True, "n2 answered, but"),
        (False, False, ""),
    ],
)
def test_without_an_answer_for_ten_seconds(must_join: bool, met: bool, why: str) -> None:
    rig = Rig()
    rig.begin(("/n2",), must_join=must_join)
    if met:
        rig.meet("n2")
    rig.wait(9.9)
    assert not joined(rig)
    rig.wait(0.2)
    assert len(joined(rig)) == 1 and joined(rig)[0].why.startswith(why)
    assert rig.node.members.joined != must_join
    if must_join:  # it goes on trying
        assert [e for e in rig.wait(1.5) if isinstance(e, ef.Dial)]
        rig.meet("n2")
        rig.hear("n2", wire.Welcome((profile("n2"),)))
        assert rig.node.members.joined


def test_a_newcomer_is_given_records_then_members_and_handed_on() -> None:
    rig = Rig()
    rig.begin()
    rig.meet("n2", "n3")
    rig.know(record("hello"))
    rig.link("n4")
    rig.hear("n4", wire.Hello(profile("n4"), joining=True))
    assert rig.receivers(wire.Introduced) == ["n2", "n3"]
    to_n4 = [e.message for e in rig.did(ef.Send) if e.peer == "n4-id"]
    kinds = [type(m) for m in to_n4]
    assert kinds.index(wire.Records) < kinds.index(wire.Welcome)
    (welcome,) = rig.sent(wire.Welcome, "n4")
    assert [p.node.name for p in welcome.members] == ["n1", "n2", "n3"]


def test_a_suspect_is_not_among_the_members_told() -> None:
    rig = Rig()
    rig.begin()
    rig.meet("n2", "n3")
    rig.lose("n2")
    rig.link("n4")
    rig.hear("n4", wire.Hello(profile("n4"), joining=True))
    assert [p.node.name for p in rig.sent(wire.Welcome, "n4")[0].members] == ["n1", "n3"]


def test_who_asks_before_we_joined_is_taken_in_when_we_have() -> None:
    rig = Rig()
    rig.begin(("/n2",))
    rig.link("n4")
    rig.hear("n4", wire.Hello(profile("n4"), joining=True))
    assert not rig.sent(wire.Welcome)
    rig.meet("n2")
    rig.hear("n2", wire.Welcome((profile("n2"),)))
    assert len(rig.sent(wire.Welcome, "n4")) == 1


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (profile("n7"), "its hello names another node than its link does"),
        (profile("n9", cluster="other"), "the nodes here are of cluster main, it is of other"),
    ],
)
def test_bad_hellos_are_refused_with_a_reason(said: Profile, reason: str) -> None:
    rig = Rig()
    rig.begin()
    rig.link("n9")
    rig.hear("n9", wire.Hello(said, joining=True))
    assert rig.sent(wire.HelloRefused, "n9") == [wire.HelloRefused(reason)]
    assert rig.node.members.present() == ("n1-id",) and rig.count("hello_refused") == 1
    assert [e for e in rig.wait(3.1) if isinstance(e, ef.Hangup)] == [ef.Hangup("n9-id")]


def test_the_257th_node_is_refused() -> None:
    rig = Rig()
    rig.begin()
    for i in range(2, CELL_MAX + 1):
        rig.hear(f"n{i}", wire.Heartbeat(profile(f"n{i}"), 1))
    rig.link("n900")
    rig.hear("n900", wire.Hello(profile("n900"), joining=True))
    (refused,) = rig.sent(wire.HelloRefused)
    assert refused.reason.startswith("the cell is full: 256 nodes")
    rig.link("n7")
    rig.hear("n7", wire.Hello(profile("n7")))  # a member may come again
    assert not rig.sent(wire.HelloRefused)


def test_a_refusal_reaches_whoever_waits_for_the_join() -> None:
    rig = Rig()
    rig.begin(("/n2",), must_join=True)
    rig.meet("n2")
    rig.hear("n2", wire.HelloRefused("the cell is full"))
    assert joined(rig) == [ef.Joined("n2 refused this node: the cell is full", refused=True)]
    assert not rig.node.members.joined


def test_a_mesh_of_another_version_is_told_when_nobody_else_took_the_node_in() -> None:
    rig = Rig()
    rig.begin(("/n2", "/n3"), must_join=True)
    rig.link("n2")
    rig.tell(ev.OtherVersion("n2-id", 2))
    rig.wait(9.9)
    assert not joined(rig)
    rig.wait(0.2)
    (told,) = joined(rig)
    assert (
        told.refused and "n2-id speaks version 2 of the protocol between nodes, this node version 1" in told.why
    )


def test_a_node_of_another_version_does_not_keep_one_from_joining_others() -> None:
    rig = Rig()
    rig.begin(("/n2", "/n3"), must_join=True)
    rig.link("n2")
    rig.tell(ev.OtherVersion("n2-id", 2))
    rig.meet("n3")
    rig.hear("n3", wire.Welcome((profile("n3"),)))
    assert joined(rig) == [ef.Joined()]
    rig.tell(ev.OtherVersion("n2-id", 2))
    assert rig.count("other_version") == 2 and not rig.effects


def test_a_hello_that_never_comes_closes_the_link() -> None:
    rig = Rig()
    rig.begin()
    rig.link("n2")
    assert not [e for e in rig.wait(2.9) if isinstance(e, ef.Hangup)]
    assert [e for e in rig.wait(0.2) if isinstance(e, ef.Hangup)] == [ef.Hangup("n2-id")]


def test_a_later_boot_rises_above_what_others_remember() -> None:
    rig = Rig(boot=7)
    rig.begin()
    rig.link("n2")
    rig.hear("n2", wire.Hello(profile("n2"), heard_incarnation=5, heard_boot=3))
    assert rig.node.members.incarnation == 6 and ef.Persist("incarnation", b"6") in rig.effects
    assert [h.profile.incarnation for h in rig.sent(wire.Hello, "n2")] == [6]


def test_the_same_boot_does_not_rise() -> None:
    rig = Rig(boot=7)
    rig.begin()
    rig.link("n2")
    rig.hear("n2", wire.Hello(profile("n2"), heard_incarnation=1, heard_boot=7))
    assert rig.node.members.incarnation == 1


def test_a_hello_of_an_earlier_run_is_told_of_the_later_one() -> None:
    rig = Rig()
    rig.begin()
    rig.meet("n2", boot=5, incarnation=4)
    rig.hear("n2", wire.Hello(profile("n2", boot=6, incarnation=1)))
    (told,) = rig.sent(wire.Hello, "n2")
    assert (told.heard_incarnation, told.heard_boot) == (4, 5)
    assert rig.node.members.boot_of("n2-id") == 5


def test_what_came_while_a_member_was_away_is_handed_to_it() -> None:
    rig = Rig()
    rig.begin()
    rig.meet("n2", "n3")
    rig.know(record("old"))
    rig.wait(10.0)
    rig.meet("n2", "n3")
    rig.lose("n2", refused=False)
    rig.wait(1.0)
    rig.hear("n3", wire.Announce(signed(record("new"), "n3-id")))
    rig.link("n2")
    rig.hear("n2", wire.Hello(profile("n2")))
    handed = [wire_record for m in rig.sent(wire.Records, "n2") for wire_record in m.records]
    assert handed == [signed(record("new"), "n3-id")]
