"""Claims: taken in or not, settled, delivered until acknowledged, ended, and repaired."""

import pytest

from falak.core import events as ev
from falak.core import wire
from falak.core.claims import ENDED_MAX
from falak.core.model import Capacity, Claim
from falak.core.settings import Settings
from falak.core.standing import digest_of, standing
from tests.unit.core.rig import Rig, capsule_for, claim, handed, profile, record, signed

FIVE = ("n1", "n2", "n3", "n4", "n5")


@pytest.fixture
def rig() -> Rig:
    """A node of five, which is an elector of everything, and knows capsule c."""
    made = Rig()
    made.begin()
    made.meet("n2", "n3", "n4", "n5")
    made.know(record("c"))
    return made


def claimed(rig: Rig, what: Claim, by: str = "") -> None:
    rig.hear(by or what.holder.removesuffix("-id"), wire.Claimed(what, Capacity()))


def hold(rig: Rig, capsule: str = "c", ready: bool = True) -> None:
    """The node itself wins a slot."""
    rig.node.turn.now, rig.node.turn.effects = rig.now, []
    rig.node.claims.hold(claim(capsule, "n1", ready=ready))
    rig.effects = list(rig.node.turn.effects)


def test_a_claim_is_taken_in_and_acknowledged(rig: Rig) -> None:
    claimed(rig, claim("c", "n2"))
    assert rig.node.claims.ready("c") == (claim("c", "n2"),)
    assert rig.sent(wire.ClaimHeard, "n2") == [wire.ClaimHeard("c", 0, 1)]
    claimed(rig, claim("c", "n2", sequence=2, ready=False))
    assert rig.node.claims.ready("c") == () and rig.node.claims.live("c") != []


def test_a_replayed_claim_changes_nothing(rig: Rig) -> None:
    claimed(rig, claim("c", "n2", sequence=5))
    claimed(rig, claim("c", "n2", sequence=4, ready=False))
    assert rig.node.claims.ready("c") != () and rig.count("claim_repeated") == 1
    assert rig.sent(wire.ClaimHeard, "n2")  # it is known: the holder need not come again


def test_a_replayed_claim_does_not_come_back_after_its_end(rig: Rig) -> None:
    word = claim("c", "n2", sequence=5)
    claimed(rig, word)
    rig.hear("n2", wire.Released(claim("c", "n2", sequence=6, ready=False), "drained"))
    assert rig.node.claims.live("c") == []
    claimed(rig, word)
    assert rig.node.claims.live("c") == [] and rig.count("claim_repeated") == 1


def test_an_end_that_comes_before_its_claim(rig: Rig) -> None:
    rig.hear("n2", wire.Released(claim("c", "n2", sequence=6), "drained"))
    claimed(rig, claim("c", "n2", sequence=5))
    assert rig.node.claims.live("c") == []
    claimed(rig, claim("c", "n2", sequence=7))
    assert rig.node.claims.live("c") != []


def test_an_end_of_an_older_word_does_not_end_the_newer(rig: Rig) -> None:
    claimed(rig, claim("c", "n2", sequence=9))
    rig.hear("n2", wire.Released(claim("c", "n2", sequence=8), "drained"))
    assert rig.node.claims.live("c") != []


def test_a_claim_in_anothers_name_is_foreign(rig: Rig) -> None:
    claimed(rig, claim("c", "n2"), by="n3")
    rig.hear("n3", wire.Released(claim("c", "n2"), "mine now"))
    assert rig.node.claims.live("c") == [] and rig.count("claim_foreign") == 2 and not rig.effects


def test_a_claim_of_another_boot_is_void(rig: Rig) -> None:
    claimed(rig, claim("c", "n2", boot=2))
    assert rig.node.claims.live("c") == [] and rig.count("claim_other_boot") == 1
    claimed(rig, claim("c", "n2"))
    rig.meet("n2", boot=2, incarnation=2)
    assert rig.node.claims.live("c") == []


def test_a_suspect_holder_protects_no_slot_until_it_is_back(rig: Rig) -> None:
    claimed(rig, claim("c", "n2"))
    rig.tell(ev.Unreachable("c", "n2-id"))
    assert rig.node.claims.live("c") == []
    rig.hear("n2", wire.Heartbeat(profile("n2", claims=1, claims_digest=b"x" * 16), 1))
    assert rig.node.claims.live("c") != []


@pytest.mark.parametrize(
    ("lesser", "greater"),
    [
        ({"epoch": 1}, {"epoch": 2}),
        ({"gravity": 1}, {"gravity": 2}),
        ({"epoch": 1, "gravity": 9}, {"epoch": 2, "gravity": 1}),
        ({}, {}),  # equal: the holder's id decides
    ],
)
def test_of_two_holders_the_greater_stays_whoever_comes_first(
    rig: Rig, lesser: dict[str, int], greater: dict[str, int]
) -> None:
    low, high = claim("c", "n2", **lesser), claim("c", "n3", **greater)
    for first, second in ((low, high), (high, low)):
        other = Rig()
        other.begin()
        other.meet("n2", "n3")
        other.know(record("c"))
        claimed(other, first)
        claimed(other, second)
        assert other.node.claims.live("c") == [high]
        assert other.sent(wire.Outclaimed, "n2") == [wire.Outclaimed(high)]
        assert not other.sent(wire.Outclaimed, "n3")


def test_a_newer_generation_is_greater() -> None:
    assert standing(claim("c", "n2", generation=2)) > standing(claim("c", "n3", epoch=9, gravity=9))


def test_the_lesser_holder_is_told_until_it_lets_go(rig: Rig) -> None:
    claimed(rig, claim("c", "n3", epoch=2))
    claimed(rig, claim("c", "n2", epoch=1))
    told = [len(rig.sent(wire.Outclaimed, "n2"))]
    for _ in range(3):
        rig.wait(5.1, alive=("n2", "n3"))
        told.append(len(rig.sent(wire.Outclaimed, "n2")))
    assert all(count >= 1 for count in told) and told[1] <= 5
    rig.hear("n2", wire.Released(claim("c", "n2", sequence=2), "another node holds the slot"))
    rig.wait(11.0, alive=("n2", "n3"))
    assert not rig.sent(wire.Outclaimed)


def test_a_lesser_holder_that_let_go_says_so(rig: Rig) -> None:
    rig.hear("n2", wire.Outclaimed(claim("c", "n3", epoch=2)))
    assert rig.sent(wire.ClaimsGiven, "n2") == [wire.ClaimsGiven((), (("c", 0),), 0)]


def test_our_lesser_claim_gives_way(rig: Rig) -> None:
    hold(rig)
    rig.hear("n2", wire.Outclaimed(claim("c", "n3", epoch=2)))
    assert rig.node.claims.own() == []
    assert {m.reason for m in rig.sent(wire.Released)} == {"another node holds the slot"}
    assert rig.node.claims.live("c") == [claim("c", "n3", epoch=2)]


def test_we_do_not_give_way_to_nobody(rig: Rig) -> None:
    hold(rig)
    rig.hear("n2", wire.Outclaimed(claim("c", "n9", epoch=9)))
    rig.hear("n2", wire.Outclaimed(claim("c", "n3", epoch=9, boot=7)))
    assert rig.node.claims.own() and rig.count("claim_other_boot") == 2


def test_our_greater_claim_stays(rig: Rig) -> None:
    hold(rig)
    rig.hear("n2", wire.Outclaimed(claim("c", "n3", gravity=1)))
    assert rig.node.claims.own() and rig.count("outclaimed_by_lesser") == 1


@pytest.mark.parametrize(("others", "acks"), [(0, 0), (1, 1), (2, 1), (3, 2), (4, 2)])
def test_a_claim_is_delivered_until_enough_acknowledge(others: int, acks: int) -> None:
    """The node itself is one of those who know: three of five, else a majority."""
    rig = Rig()
    rig.begin()
    rig.meet(*FIVE[1 : others + 1])
    hold(rig)
    assert sorted(rig.receivers(wire.Claimed)) == list(FIVE[1 : others + 1])
    alive = FIVE[1 : others + 1]
    for name in FIVE[1 : acks + 1]:
        rig.wait(1.0, alive)
        assert name in rig.receivers(wire.Claimed)
        rig.hear(name, wire.ClaimHeard("c", 0, 1))
    assert not [e for e in rig.wait(6.0, alive=alive) if isinstance(getattr(e, "message", None), wire.Claimed)]


def test_unacknowledged_claims_come_again_with_back_off(rig: Rig) -> None:
    hold(rig)
    gaps: list[float] = []
    last = rig.now
    while len(gaps) < 5:
        rig.wait(0.05, alive=FIVE[1:])
        if rig.sent(wire.Claimed):
            gaps.append(rig.now - last)
            last = rig.now
        if rig.now - 100.0 > 15.0:
            break
    assert gaps == sorted(gaps) and gaps[0] < 0.3 and gaps[3] > 1.0


def test_an_acknowledgement_of_an_older_word_does_not_count(rig: Rig) -> None:
    hold(rig, ready=False)
    rig.node.claims.now_ready("c", 0)
    for name in FIVE[1:]:
        rig.hear(name, wire.ClaimHeard("c", 0, 1))
    assert [e for e in rig.wait(0.3) if isinstance(getattr(e, "message", None), wire.Claimed)]


def test_new_electors_are_told(rig: Rig) -> None:
    alone = Rig()
    alone.begin()
    hold(alone)
    alone.meet("n2")
    assert alone.sent(wire.Claimed, "n2") == [wire.Claimed(alone.node.claims.own()[0], alone.node.capacity())]


def test_an_elector_that_restarted_is_told_again(rig: Rig) -> None:
    hold(rig)
    for name in FIVE[1:]:
        rig.hear(name, wire.ClaimHeard("c", 0, 1))
    rig.tell(ev.LinkDown("n2-id", "closed"))
    rig.meet("n2", boot=2, incarnation=2)
    assert len(rig.sent(wire.Claimed, "n2")) == 1


def test_an_unreachable_elector_is_told_when_its_link_is_back(rig: Rig) -> None:
    rig.lose("n2", refused=False)
    hold(rig)
    assert sorted(rig.receivers(wire.Claimed)) == ["n3", "n4", "n5"]
    rig.meet("n2")
    assert rig.receivers(wire.Claimed) == ["n2"]


def test_an_end_is_delivered_like_a_claim(rig: Rig) -> None:
    hold(rig)
    rig.node.turn.effects = []
    rig.node.claims.release("c", 0, "drained")
    assert rig.node.claims.own() == [] and rig.node.claims.live("c") == []
    rig.wait(0.25)
    assert sorted(rig.receivers(wire.Released)) == list(FIVE[1:])
    for name in ("n2", "n3"):
        rig.hear(name, wire.ClaimHeard("c", 0, 2))
    assert not [e for e in rig.wait(6.0, FIVE[1:]) if isinstance(getattr(e, "message", None), wire.Released)]


def test_claims_are_bounded() -> None:
    rig = Rig(Settings(claims_max=1))
    rig.begin()
    rig.meet("n2")
    claimed(rig, claim("a", "n2"))
    claimed(rig, claim("b", "n2", sequence=2))
    assert rig.node.claims.live("b") == [] and rig.count("claims_full") == 1 and not rig.sent(wire.ClaimHeard)
    assert rig.node.claims._directory.keys() == {"a"}


def test_ended_claims_of_a_holder_take_bounded_room(rig: Rig) -> None:
    for i in range(ENDED_MAX + 10):
        rig.hear("n2", wire.Released(claim(f"x{i}", "n2", sequence=i + 1), "drained"))
    assert rig.node.sizes()["claims ended of one holder"] == (ENDED_MAX, ENDED_MAX)


# --- repair ---------------------------------------------------------------------------------------------------


def heartbeat(rig: Rig, name: str, claims: list[Claim]) -> None:
    said = profile(name, claims=len(claims), claims_digest=digest_of(claims))
    rig.hear(name, wire.Heartbeat(said, 1))


def test_a_holder_whose_digest_differs_is_asked_until_it_answers(rig: Rig) -> None:
    missed = [claim("c", "n2")]
    heartbeat(rig, "n2", missed)
    assert rig.sent(wire.ClaimsAsked, "n2") == [wire.ClaimsAsked(())]
    heartbeat(rig, "n2", missed)  # the question or its answer was lost
    assert rig.sent(wire.ClaimsAsked, "n2")
    rig.hear("n2", wire.ClaimsGiven(tuple(missed), (), 1))
    assert rig.node.claims.live("c") == missed
    heartbeat(rig, "n2", missed)
    assert not rig.sent(wire.ClaimsAsked)


def test_a_holder_is_asked_anew_when_electors_change(rig: Rig) -> None:
    """It may not have known us as an elector when it answered."""
    missed = [claim("c", "n2")]
    heartbeat(rig, "n2", missed)
    rig.hear("n2", wire.ClaimsGiven((), (), 1))
    heartbeat(rig, "n2", missed)
    assert not rig.sent(wire.ClaimsAsked)
    rig.meet("n6")
    heartbeat(rig, "n2", missed)
    assert rig.sent(wire.ClaimsAsked, "n2")


def test_what_a_holder_does_not_have_any_more_ends(rig: Rig) -> None:
    claimed(rig, claim("c", "n2"))
    heartbeat(rig, "n2", [])
    assert rig.sent(wire.ClaimsAsked, "n2") == [wire.ClaimsAsked((("c", 0),))]
    rig.hear("n2", wire.ClaimsGiven((), (("c", 0),), 4))
    assert rig.node.claims.live("c") == []


def test_an_older_answer_does_not_end_a_newer_claim(rig: Rig) -> None:
    claimed(rig, claim("c", "n2", sequence=9))
    rig.hear("n2", wire.ClaimsGiven((), (("c", 0),), 8))
    assert rig.node.claims.live("c") != []


def test_asked_a_holder_gives_what_the_asker_should_know(rig: Rig) -> None:
    six = Rig()
    six.begin()
    six.meet("n2", "n3", "n4", "n5", "n6")
    mine = capsule_for((*FIVE, "n6"), lambda electors: "n6" not in electors)
    shared = capsule_for((*FIVE, "n6"), lambda electors: "n6" in electors)
    hold(six, mine)
    hold(six, shared)
    six.hear("n6", wire.ClaimsAsked((("gone", 0),)))
    (given,) = six.sent(wire.ClaimsGiven, "n6")
    assert (
        [c.capsule for c in given.claims] == [shared] and given.ended == (("gone", 0),) and given.sequence == 2
    )
    six.hear("n6", wire.ClaimsAsked(((mine, 0),)))
    assert {c.capsule for c in six.sent(wire.ClaimsGiven, "n6")[0].claims} == {mine, shared}


def test_a_holder_of_an_outdated_generation_is_handed_the_newer_record(rig: Rig) -> None:
    rig.hear("n3", wire.Announce(signed(record("c", 2), "n3-id")))
    claimed(rig, claim("c", "n2", generation=1))
    assert rig.sent(wire.Records, "n2") == [handed(signed(record("c", 2), "n3-id"))]
    assert not rig.sent(wire.ClaimHeard) and rig.node.claims.live("c") == []


def test_the_digest_does_not_depend_on_order() -> None:
    some = [claim("a", "n2"), claim("b", "n3", sequence=4), claim("c", "n4")]
    assert digest_of(some) == digest_of(reversed(some)) != digest_of(some[:2])
    assert digest_of([]) == bytes(16)


# --- a newer generation takes a slot over ----------------------------------------------------------------


def rolled(rig: Rig) -> None:
    """n2 serves generation 1, generation 2 came, and n3 won it and starts."""
    claimed(rig, claim("c", "n2"))
    rig.hear("n2", wire.Announce(signed(record("c", 2))))
    claimed(rig, claim("c", "n3", generation=2, ready=False))


def test_the_older_claim_stands_until_the_newer_is_ready(rig: Rig) -> None:
    rolled(rig)
    assert rig.node.claims.older("c") == (claim("c", "n2"),) and not rig.sent(wire.Outclaimed)
    assert [c.holder for c in rig.node.claims.live("c")] == ["n3-id"]
    claimed(rig, claim("c", "n3", generation=2, sequence=2))
    assert rig.node.claims.older("c") == ()
    assert rig.sent(wire.Outclaimed, "n2") == [wire.Outclaimed(claim("c", "n3", generation=2, sequence=2))]


def test_the_older_claim_is_back_when_the_newer_comes_to_nothing(rig: Rig) -> None:
    rolled(rig)
    rig.hear("n3", wire.Released(claim("c", "n3", generation=2, sequence=2, ready=False), "it failed"))
    assert rig.node.claims.older("c") == (claim("c", "n2"),)
    assert rig.node.claims.sizes()["claims"][0] == 1 and rig.node.claims.sizes()["claims outgoing"][0] == 0


def test_the_older_claims_end_is_heard(rig: Rig) -> None:
    rolled(rig)
    rig.hear("n2", wire.Released(claim("c", "n2", sequence=2, ready=False), "idle"))
    assert rig.node.claims.older("c") == ()
    rig.hear("n3", wire.Released(claim("c", "n3", generation=2, sequence=2, ready=False), "it failed"))
    assert rig.node.claims.older("c") == () and rig.node.claims.sizes()["claims"][0] == 0


def test_the_older_claim_goes_with_its_holders_boot(rig: Rig) -> None:
    rolled(rig)
    rig.meet("n2", boot=2, incarnation=2)
    assert rig.node.claims.older("c") == () and rig.node.claims.sizes()["claims outgoing"][0] == 0


def test_a_holder_of_an_older_generation_gives_way_to_one_that_answers_and_not_before(rig: Rig) -> None:
    copy = rig.node.momentum.begin(record("c"), 0, "cause")
    rig.node.momentum.confirm(copy)
    hold(rig)
    rig.tell(ev.Started(copy.instance, 0.001))
    rig.hear("n2", wire.Announce(signed(record("c", 2))))
    rig.hear("n3", wire.Outclaimed(claim("c", "n4", generation=2, ready=False)))
    assert rig.node.claims.own() != [] and rig.count("outclaimed_early") == 1
    rig.hear("n3", wire.Outclaimed(claim("c", "n4", generation=2, sequence=2)))
    assert rig.node.claims.own() == [] and not rig.node.momentum.serving("c")


def test_a_word_of_an_older_copy_is_taken_in_until_a_newer_one_answers(rig: Rig) -> None:
    rig.hear("n2", wire.Announce(signed(record("c", 2))))
    claimed(rig, claim("c", "n2"))
    assert rig.node.claims.older("c") == (claim("c", "n2"),) and rig.node.claims.live("c") == []
    assert rig.sent(wire.Records, "n2") and not rig.sent(wire.ClaimHeard), (
        "it is to come again: it lacks the record"
    )
    claimed(rig, claim("c", "n3", generation=2, ready=False))
    claimed(rig, claim("c", "n2", sequence=2))
    assert rig.node.claims.older("c") == (claim("c", "n2", sequence=2),)
    claimed(rig, claim("c", "n3", generation=2, sequence=2))
    assert rig.node.claims.older("c") == () and rig.sent(wire.Outclaimed, "n2")
    claimed(rig, claim("c", "n2", sequence=3))
    assert rig.node.claims.older("c") == () and rig.sent(wire.Outclaimed, "n2")


def test_a_holders_older_claim_stands_beside_its_newer_one_that_starts(rig: Rig) -> None:
    claimed(rig, claim("c", "n2"))
    rig.hear("n2", wire.Announce(signed(record("c", 2))))
    claimed(rig, claim("c", "n2", generation=2, sequence=2, ready=False))
    assert rig.node.claims.older("c") == (claim("c", "n2"),)
    rig.hear("n2", wire.Released(claim("c", "n2", generation=2, sequence=3, ready=False), "it failed"))
    assert rig.node.claims.older("c") == (claim("c", "n2"),)
    claimed(rig, claim("c", "n2", sequence=4))
    assert rig.node.claims.older("c") == (claim("c", "n2", sequence=4),)
    claimed(rig, claim("c", "n2", generation=2, sequence=6))
    assert rig.node.claims.older("c") == () and not rig.sent(wire.Outclaimed)
