"""Views of the members compared: digests, who is seen, who is introduced, and nobody made a member by hearsay."""

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.model import DROPPED
from falak.core.rollcall import ROLL_S
from tests.unit.core.rig import Rig, profile


def rig_of(count: int) -> Rig:
    rig = Rig()
    rig.begin()
    rig.meet(*(f"n{i}" for i in range(2, count + 1)))
    return rig


def compared(effects: list[ef.Effect]) -> list[str]:
    return [e.peer for e in effects if isinstance(e, ef.Send) and isinstance(e.message, wire.MembersDigest)]


def test_a_round_goes_to_one_member_every_ten_seconds() -> None:
    rig = rig_of(4)
    effects = rig.wait(5 * ROLL_S, alive=("n2", "n3", "n4"))
    asked = compared(effects)
    assert 3 <= len(asked) <= 7 and set(asked) <= {"n2-id", "n3-id", "n4-id"}


def test_equal_views_cost_one_message() -> None:
    one, other = rig_of(3), Rig()
    other.node.me = one.node.me  # the same view, seen by its twin
    other.begin()
    other.meet("n2", "n3")
    one.node.rollcall.due()
    digest = next(
        e.message
        for e in one.node.turn.effects
        if isinstance(e, ef.Send) and isinstance(e.message, wire.MembersDigest)
    )
    other.hear("n2", digest)
    assert not other.effects


def test_another_view_is_answered_with_whom_we_see_at_a_bounded_rate() -> None:
    rig = rig_of(3)
    rig.hear("n2", wire.MembersDigest(b"other"))
    seen = (("n1-id", 1), ("n2-id", 1), ("n3-id", 1))
    assert rig.sent(wire.MembersSeen, "n2") == [wire.MembersSeen(seen, True)]
    for _ in range(5):
        rig.hear("n2", wire.MembersDigest(b"other"))
        assert not rig.effects
    assert rig.count("rollcall_too_often") == 5


def test_who_lacks_a_member_is_introduced_to_it_and_says_whom_it_sees() -> None:
    rig = rig_of(4)
    rig.hear("n2", wire.MembersSeen((("n1-id", 1), ("n2-id", 1), ("n3-id", 7)), True))
    assert [word.profile.node.name for word in rig.sent(wire.Introduced, "n2")] == ["n3", "n4"]
    assert [word.answer for word in rig.sent(wire.MembersSeen, "n2")] == [False]


def test_one_that_is_dropped_here_and_seen_there_is_dialled_soon_and_not_believed() -> None:
    rig = rig_of(4)
    rig.lose("n3")
    rig.wait(1.1)
    for _ in range(8):
        rig.wait(2.0, alive=("n2", "n4"))
        rig.tell(ev.DialFailed("n3-id", "/n3", True, "refused"))
    rig.now += 10.0
    rig.node.turn.timers.cancel(("member", "dial", "n3-id"))
    rig.hear("n2", wire.MembersSeen((("n3-id", 1),)))
    rig.node.members.members["n3-id"].dialled_at = 0.0
    rig.hear("n2", wire.Introduced(profile("n3")))
    assert rig.node.members.members["n3-id"].state == DROPPED
    assert ef.Dial("n3-id", "/n3") in rig.wait(0.7)


def test_a_suspect_that_others_see_is_asked_itself() -> None:
    rig = rig_of(2)
    rig.tell(ev.PeerSilent("n2-id", 1.0))
    rig.meet("n3")
    rig.hear("n3", wire.MembersSeen((("n2-id", 1),)))
    assert "n2" in rig.receivers(wire.Ping)


def test_strangers_are_not_compared_with() -> None:
    rig = rig_of(2)
    rig.hear("stranger", wire.MembersDigest(b"x"))
    rig.hear("stranger", wire.MembersSeen((), True))
    assert rig.count("rollcall_of_stranger") == 2 and not rig.effects


def test_after_a_heal_views_are_compared_at_once_with_one_of_many() -> None:
    rig = rig_of(4)
    for name in ("n2", "n3"):
        rig.lose(name, refused=False)
    effects: list[ef.Effect] = []
    for name in ("n2", "n3"):
        rig.link(name)
        effects += rig.hear(name, wire.Hello(profile(name)))
    assert compared(effects) == ["n2-id"]


def test_what_is_remembered_of_a_member_ends_with_it() -> None:
    rig = rig_of(3)
    rig.hear("n2", wire.MembersDigest(b"other"))
    rig.hear("n2", wire.Goodbye(1, 1))
    assert "n2-id" not in rig.node.rollcall._answered
