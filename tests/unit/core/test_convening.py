"""A convener: called, looking, summoning, counting votes, calling again, answering, with 1 to 5 electors."""

import pytest

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.convening import DEFERRALS_MAX
from falak.core.model import Capacity, Claim, Resources, Vote
from falak.core.node import Place
from falak.core.settings import Settings
from tests.unit.core.rig import GIB, ROOM, Rig, capsule_for, claim, record, signed

FIVE = ("n1", "n2", "n3", "n4", "n5")
MINE = capsule_for(FIVE, lambda electors: electors[0] == "n1")
"""Of five nodes' electors for it, this one is the first."""
THEIRS = capsule_for(FIVE, lambda electors: electors[:2] == ["n2", "n1"])
"""n2 is the first elector, this one the second."""


def rig_of(count: int, settings: Settings | None = None, place: Place | None = None) -> Rig:
    """One of ``count`` nodes. It watches no orbit: it convenes and votes, and runs nothing itself."""
    rig = Rig(settings, place or Place(orbits=()))
    rig.begin()
    rig.meet(*FIVE[1:count])
    return rig


@pytest.fixture
def rig() -> Rig:
    made = rig_of(5)
    for name in (MINE, THEIRS):
        made.hear("n2", wire.Announce(signed(record(name))))  # seen to be born: nothing can have been missed
    return made


def call(rig: Rig, name: str = MINE, by: str = "n3") -> list[ef.Effect]:
    return rig.hear(by, wire.Call(name, f"of {by}", ROOM))


def summoned(rig: Rig) -> list[str]:
    return rig.receivers(wire.Summon)


def epoch_of(rig: Rig) -> int:
    return rig.sent(wire.Summon)[0].epoch


def vote(rig: Rig, by: str, leader: str, epoch: int = 1, name: str = MINE, held: Claim | None = None) -> None:
    rig.hear(by, wire.Voted(name, 0, epoch, Vote(epoch, f"{leader}-id"), held))


def decline(rig: Rig, by: str, reason: str = "busy", epoch: int = 1, proposed: bool = False) -> None:
    rig.hear(by, wire.Decline(MINE, 0, epoch, reason, ROOM, proposed))


def claimed(rig: Rig, by: str, name: str = MINE, **fields: int | bool) -> None:
    rig.hear(by, wire.Claimed(claim(name, by, **fields), ROOM))


# --- answers that need no election ----------------------------------------------------------------


def test_an_unknown_capsule_is_said_to_be_unknown(rig: Rig) -> None:
    call(rig, "nope")
    assert rig.sent(wire.Unknown, "n3") == [wire.Unknown("nope", "of n3")]


def test_a_ready_claim_is_the_answer(rig: Rig) -> None:
    claimed(rig, "n2")
    call(rig)
    assert rig.sent(wire.Holders, "n3") == [wire.Holders(MINE, "of n3", (claim(MINE, "n2"),))]
    assert not summoned(rig)


def test_a_starting_copy_is_waited_for(rig: Rig) -> None:
    claimed(rig, "n2", ready=False)
    call(rig)
    assert rig.sent(wire.Heard, "n3") and not summoned(rig)
    claimed(rig, "n2", sequence=2)
    assert [h.claims[0].holder for h in rig.sent(wire.Holders, "n3")] == ["n2-id"]


def test_before_it_joined_a_node_answers_no_call() -> None:
    rig = Rig()
    rig.begin(("/n2",))
    rig.meet("n2")
    call(rig)
    assert not rig.effects and rig.count("call_before_joined") == 1


# --- convening ------------------------------------------------------------------------------------


def test_the_first_elector_summons_at_once_all_watchers_by_rank(rig: Rig) -> None:
    call(rig)
    assert rig.sent(wire.Heard, "n3") == [wire.Heard(MINE, "of n3")] and not rig.sent(wire.Look)
    assert sorted(summoned(rig)) == ["n2", "n3", "n4", "n5"]
    assert [s.rank for s in rig.sent(wire.Summon)] == [0, 1, 2, 3]
    (called,) = rig.notes("election.called")
    assert called["candidates"] == summoned(rig) and len(called["gravities"]) == 4  # type: ignore[arg-type]
    assert summoned(rig)[0] == "n3"  # the caller is nearest to itself


def test_the_stagger_is_that_of_the_slowest_before(rig: Rig) -> None:
    rig.node.members.trips.sample("n3-id", 0.05)
    call(rig)
    staggers = {s.rank: s.stagger_us for s in rig.sent(wire.Summon)}
    assert all(staggers[rank] == 200_000 for rank in staggers)


def test_several_callers_one_election(rig: Rig) -> None:
    call(rig)
    for by in ("n4", "n5"):
        call(rig, by=by)
        assert rig.sent(wire.Heard, by) and not summoned(rig)
    claimed(rig, "n3")
    assert sorted(rig.receivers(wire.Holders)) == ["n3", "n4", "n5"]


def test_an_elector_that_is_not_the_first_looks_first(rig: Rig) -> None:
    call(rig, THEIRS)
    assert sorted(rig.receivers(wire.Look)) == ["n2", "n3", "n4", "n5"] and not summoned(rig)
    rig.hear("n2", wire.Saw(THEIRS, 0, Vote(4, "n9-id")))
    assert not summoned(rig)
    rig.hear("n3", wire.Saw(THEIRS, 0, Vote()))
    assert epoch_of(rig) == 5  # its own word and two more are a majority of five


def test_a_node_that_may_have_missed_something_looks_although_it_is_first() -> None:
    rig = rig_of(5)
    rig.know(record(MINE))  # handed over, not seen to be born
    call(rig)
    assert rig.sent(wire.Look) and not summoned(rig)
    for by in FIVE[1:]:
        rig.hear(by, wire.Saw(MINE, 0, Vote()))
    claimed(rig, "n3")
    rig.hear("n3", wire.Released(claim(MINE, "n3", sequence=2), "drained"))
    call(rig)
    assert summoned(rig) and not rig.sent(wire.Look)  # everybody answered: it knows all


def test_a_claim_that_the_look_finds_is_the_answer(rig: Rig) -> None:
    call(rig, THEIRS)
    rig.hear("n4", wire.Saw(THEIRS, 0, Vote(1, "n5-id"), claim(THEIRS, "n5")))
    assert rig.sent(wire.Holders, "n3")
    rig.wait(0.5)
    assert not summoned(rig)


def test_a_look_is_not_waited_for_longer_than_two_round_trips(rig: Rig) -> None:
    call(rig, THEIRS)
    rig.wait(0.0031)
    assert summoned(rig)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_looking_among_few(count: int) -> None:
    """Fewer than five electors: all the others are waited for; alone there is nobody to ask."""
    rig = rig_of(count, place=Place())
    rig.know(record("c"))
    call(rig, "c", by="n1")
    assert sorted(rig.receivers(wire.Look)) == list(FIVE[1:count])
    for by in FIVE[1:count]:
        assert not rig.notes("election.called")
        rig.hear(by, wire.Saw("c", 0, Vote()))
    assert rig.notes("election.called") or rig.node.momentum.copies


def test_it_leaves_an_election_to_an_earlier_elector_that_convenes(rig: Rig) -> None:
    call(rig, THEIRS)
    rig.hear("n2", wire.Saw(THEIRS, 0, Vote(), None, True))
    rig.hear("n3", wire.Saw(THEIRS, 0, Vote()))
    assert not summoned(rig) and rig.count("elections_deferred") == 1
    rig.wait(0.11)
    assert rig.sent(wire.Look, "n2")
    claimed(rig, "n4", THEIRS)
    assert rig.sent(wire.Holders, "n3")


def test_it_does_not_leave_it_to_a_later_one(rig: Rig) -> None:
    call(rig, THEIRS)
    for by in ("n3", "n4"):
        rig.hear(by, wire.Saw(THEIRS, 0, Vote(), None, True))
    assert summoned(rig)


def test_it_takes_over_when_that_elector_becomes_suspect(rig: Rig) -> None:
    call(rig, THEIRS)
    rig.hear("n2", wire.Saw(THEIRS, 0, Vote(), None, True))
    rig.hear("n3", wire.Saw(THEIRS, 0, Vote()))
    rig.lose("n2")
    assert summoned(rig)


def test_it_does_not_leave_it_for_ever(rig: Rig) -> None:
    call(rig, THEIRS)
    for _ in range(DEFERRALS_MAX + 1):
        assert not summoned(rig)
        rig.hear("n2", wire.Saw(THEIRS, 0, Vote(), None, True))
        rig.hear("n3", wire.Saw(THEIRS, 0, Vote()))
        if not summoned(rig):
            rig.wait(0.101, alive=FIVE[1:])
    assert rig.count("elections_deferred") == DEFERRALS_MAX


# --- votes ----------------------------------------------------------------------------------------


def test_three_acks_are_announced_to_the_other_candidates(rig: Rig) -> None:
    call(rig)
    for by in ("n2", "n4"):
        vote(rig, by, "n3")
        assert not rig.sent(wire.Won)
    vote(rig, "n5", "n3")
    assert sorted(rig.receivers(wire.Won)) == ["n2", "n4", "n5"]
    assert not rig.sent(wire.Holders)  # not before its copy answers
    claimed(rig, "n3", ready=False)
    claimed(rig, "n3", sequence=2)
    assert rig.sent(wire.Holders, "n3")


def test_a_vote_of_somebody_not_named_is_counted(rig: Rig) -> None:
    call(rig)
    for by in ("n2", "n6", "n3"):
        vote(rig, by, "n3")
    assert not rig.sent(wire.Won) and rig.count("vote_not_an_elector") == 1


def test_an_announced_winner_that_does_not_claim_is_not_waited_for_long(rig: Rig) -> None:
    call(rig)
    for by in ("n2", "n4", "n5"):
        vote(rig, by, "n3")
    rig.wait(0.25)
    assert epoch_of(rig) == 2


def test_a_split_calls_the_one_with_most_acks_again_with_the_proof(rig: Rig) -> None:
    call(rig)
    for by, leader in (("n2", "n2"), ("n3", "n3"), ("n4", "n3"), ("n5", "n2")):
        assert not rig.sent(wire.Summon) or by == "n2"
        vote(rig, by, leader)
    vote(rig, "n1", "n5")
    assert summoned(rig) == ["n2"]
    (again,) = rig.sent(wire.Summon)
    assert again.epoch == 2 and again.rank == 0 and len(again.proof) == 5


def test_nothing_decided_goes_on_with_a_higher_epoch_for_those_that_are_left(rig: Rig) -> None:
    call(rig)
    vote(rig, "n2", "n3")
    rig.wait(0.11)
    assert epoch_of(rig) == 2 and sorted(summoned(rig)) == ["n2", "n3", "n4", "n5"]


def test_it_goes_beyond_the_highest_epoch_heard(rig: Rig) -> None:
    call(rig)
    vote(rig, "n2", "n5", epoch=7)
    rig.wait(0.11)
    assert epoch_of(rig) == 8


def test_a_claim_in_an_answer_ends_the_election(rig: Rig) -> None:
    call(rig)
    vote(rig, "n2", "n5", held=claim(MINE, "n5"))
    assert rig.sent(wire.Holders, "n3") and sorted(rig.receivers(wire.Won)) == ["n2", "n3", "n4"]


# --- those who refuse or fail ---------------------------------------------------------------------


def test_a_refusal_lets_the_next_rank_go_at_once(rig: Rig) -> None:
    call(rig)
    order = summoned(rig)
    decline(rig, order[0])
    assert rig.receivers(wire.Proceed) == [order[1]]
    decline(rig, order[3])
    assert not rig.sent(wire.Proceed)  # whoever is before it is still in
    decline(rig, order[1])
    assert rig.receivers(wire.Proceed) == [order[2]]


def test_a_refusal_of_another_epoch_or_of_a_stranger_is_ignored(rig: Rig) -> None:
    call(rig)
    order = summoned(rig)
    decline(rig, order[0], epoch=9)
    decline(rig, "n9")
    assert not rig.effects


def test_when_all_refuse_the_caller_hears_every_reason(rig: Rig) -> None:
    call(rig)
    for by in summoned(rig):
        decline(rig, by, f"{by} is busy")
    (refused,) = rig.sent(wire.Refused, "n3")
    assert refused.retry_after_s == 1
    for by in ("n2", "n3", "n4", "n5"):
        assert f"{by}: {by} is busy" in refused.reason


def test_one_that_proposed_and_gave_up_means_a_new_epoch_without_it(rig: Rig) -> None:
    call(rig)
    first = summoned(rig)[0]
    decline(rig, first, "its copy failed", proposed=True)
    assert epoch_of(rig) == 2 and first not in summoned(rig)


def test_a_winner_that_gives_up_is_followed_at_once(rig: Rig) -> None:
    call(rig)
    for by in ("n2", "n4", "n5"):
        vote(rig, by, "n3")
    decline(rig, "n3", "its copy failed", proposed=True)
    assert epoch_of(rig) == 2 and "n3" not in summoned(rig)
    for by in ("n2", "n4", "n5"):
        vote(rig, by, "n3")  # late words of epoch 1
        assert not rig.sent(wire.Won)


def test_a_candidate_that_becomes_suspect_is_out(rig: Rig) -> None:
    call(rig)
    order = summoned(rig)
    rig.lose(order[2])
    assert not rig.sent(wire.Proceed) and not rig.sent(wire.Summon)
    rig.lose(order[0])
    assert epoch_of(rig) == 2 and summoned(rig) == [order[1], order[3]]


def test_a_holder_that_dies_while_callers_wait_is_followed(rig: Rig) -> None:
    claimed(rig, "n2", ready=False)
    call(rig)
    rig.lose("n2")
    assert "n2" not in summoned(rig) and summoned(rig)


def test_a_copy_that_fails_goes_elsewhere(rig: Rig) -> None:
    claimed(rig, "n2", ready=False)
    call(rig)
    rig.hear("n2", wire.Released(claim(MINE, "n2", sequence=2), "n2: out of ports"))
    assert "n2" not in summoned(rig) and summoned(rig)


def test_three_failures_are_told(rig: Rig) -> None:
    call(rig)
    for i, by in enumerate(("n2", "n4", "n5")):
        assert summoned(rig) or i == 0
        claimed(rig, by, ready=False, sequence=1, epoch=i + 1)
        rig.hear(by, wire.Released(claim(MINE, by, sequence=2, epoch=i + 1), f"{by}: out of ports"))
    (refused,) = rig.sent(wire.Refused, "n3")
    assert refused.reason == f"{MINE} did not start: n2: out of ports; n4: out of ports; n5: out of ports"
    assert refused.retry_after_s == 5


def test_what_is_the_capsules_fault_is_told_at_once(rig: Rig) -> None:
    claimed(rig, "n2", ready=False)
    call(rig)
    rig.hear("n2", wire.Released(claim(MINE, "n2", sequence=2), "n2: it traps", capsule_fault=True))
    assert rig.sent(wire.Refused, "n3")[0].reason == f"{MINE} did not start: n2: it traps"


def test_a_lone_node_tries_its_own_copy_again() -> None:
    rig = rig_of(1, place=Place())
    rig.know(record("c"))
    rig.tell(ev.Wanted("c"))
    for instance in (1, 2, 3):
        assert [s.instance for s in rig.did(ef.Start)] == [instance]
        rig.tell(ev.StartFailed(instance, "out of ports", False))
    (refuse,) = rig.did(ef.Refuse)
    assert refuse.status == 503 and "out of ports" in refuse.reason


def test_what_fits_nowhere_is_refused_with_each_nodes_reason(rig: Rig) -> None:
    rig.know(record("big", resources=Resources(0, 64 * GIB)))
    call(rig, "big")
    for by in FIVE[1:3]:
        rig.hear(by, wire.Saw("big", 0, Vote()))
    (refused,) = rig.sent(wire.Refused, "n3")
    assert "n2: needs 65536 MiB of memory, 8192 MiB are free" in refused.reason


# --- members come and go --------------------------------------------------------------------------


def test_without_links_to_enough_electors_it_waits_and_says_so() -> None:
    rig = rig_of(5, place=Place())
    rig.know(record("c"))
    for name in ("n2", "n3", "n4"):
        rig.lose(name, refused=False)
    rig.tell(ev.Wanted("c"))
    assert not rig.did(ef.Start)
    effects = rig.wait(8.2, alive=("n2", "n3", "n4", "n5"))
    (refusal,) = [e for e in effects if isinstance(e, ef.Refuse)]
    assert refusal.reason.startswith("c runs nowhere yet: ") and refusal.reason.endswith("; try again")
    lost = refusal.reason.removeprefix("c runs nowhere yet: ").removesuffix(" cannot be reached; try again")
    assert set(lost.split(", ")) == {"n2", "n3", "n4"}


def test_it_goes_on_when_the_link_is_back_or_the_member_is_dropped() -> None:
    for cure in ("link", "drop"):
        rig = rig_of(2, place=Place())
        rig.know(record("c"))
        rig.lose("n2", refused=False)
        rig.tell(ev.Wanted("c"))
        if cure == "link":
            rig.meet("n2")
            assert rig.sent(wire.Look, "n2")
        else:
            rig.wait(6.5)
            assert rig.node.election.convening.sizes()["ballots"][0] == 0 and rig.node.momentum.copies


def test_a_newer_generation_goes_on_with_the_same_callers(rig: Rig) -> None:
    call(rig)
    rig.hear("n2", wire.Announce(signed(record(MINE, 2))))
    assert {s.generation for s in rig.sent(wire.Summon)} == {2} and epoch_of(rig) == 2


def test_a_newer_generation_while_an_old_copy_starts(rig: Rig) -> None:
    claimed(rig, "n2", ready=False)
    call(rig)
    rig.hear("n2", wire.Announce(signed(record(MINE, 2))))
    assert {s.generation for s in rig.sent(wire.Summon)} == {2}


def test_a_caller_that_restarted_waits_for_nothing(rig: Rig) -> None:
    call(rig)
    rig.meet("n3", boot=2, incarnation=2)
    claimed(rig, "n4")
    assert not rig.sent(wire.Holders)


# --- bounds ---------------------------------------------------------------------------------------


def test_at_most_eight_are_open_and_the_rest_wait_in_order() -> None:
    rig = rig_of(5, Settings(elections_open_max=2))
    mine = [c for c in (f"c{i}" for i in range(400)) if rig.node.orbits.electors_of(c)[0] == "n1-id"][:4]
    for name in mine:
        rig.hear("n2", wire.Announce(signed(record(name))))
        call(rig, name)
    assert rig.node.sizes()["elections open"] == (2, 2) and rig.node.sizes()["elections waiting"][0] == 2
    claimed(rig, "n2", mine[0])
    assert rig.sent(wire.Summon)[0].capsule == mine[2]


def test_waiting_elections_are_bounded() -> None:
    rig = rig_of(5, Settings(elections_open_max=1, elections_waiting_max=1))
    mine = [c for c in (f"c{i}" for i in range(400)) if rig.node.orbits.electors_of(c)[0] == "n1-id"][:3]
    for name in mine:
        rig.hear("n2", wire.Announce(signed(record(name))))
        call(rig, name)
    assert rig.sent(wire.Refused, "n3")[0].reason == "the elector is busy; try again"


def test_a_large_cell_draws_five_among_the_best() -> None:
    rig = Rig(place=Place(orbits=()))
    rig.begin()
    for i in range(2, 42):
        idle = Capacity(4000, 8 * GIB, 4000, 8 * GIB, 0)
        rig.meet(f"n{i}", capacity=idle if i <= 10 else Capacity(4000, 8 * GIB, 0, GIB, 4000))
    record_ = record("c")
    rig.know(record_)
    drawn = [
        tuple(peer for peer, _ in rig.node.election.rank(record_, "n1-id", frozenset()).candidates)
        for _ in range(20)
    ]
    assert all(len(set(five)) == 5 for five in drawn) and len(set(drawn)) > 10
    assert {peer for five in drawn for peer in five} <= {f"n{i}-id" for i in range(2, 11)}


def test_the_drawn_are_ranked_by_their_estimates() -> None:
    rig = Rig(place=Place(orbits=()))
    rig.begin()
    for i in range(2, 82):
        rig.meet(f"n{i}", capacity=Capacity(4000, 8 * GIB, 50 * i, 8 * GIB, 0))
    record_ = record("c")
    rig.know(record_)
    for _ in range(20):
        gravities = [g for _, g in rig.node.election.rank(record_, "n1-id", frozenset()).candidates]
        assert gravities == sorted(gravities, reverse=True)
