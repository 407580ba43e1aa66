"""A candidate: when it proposes, when it refuses, how it wins, withdraws and gives up."""

import pytest

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.candidacy import CANDIDACIES_MAX
from falak.core.model import Capacity, Claim, Resources, Vote
from falak.core.node import Place
from falak.core.settings import Settings
from tests.unit.core.rig import ARTIFACT, GIB, Rig, claim, profile, record, signed

IDS = tuple(f"n{i}-id" for i in range(1, 6))


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.begin()
    made.meet("n2", "n3", "n4", "n5")
    made.know(record("c"))
    return made


def summon(rig: Rig, epoch: int = 1, rank: int = 0, by: str = "n2", **fields: object) -> list[ef.Effect]:
    said: dict[str, object] = {
        "capsule": "c", "generation": 1, "slot": 0, "stagger_us": 4000, "electors": IDS, "caller": "n3-id",
        "zone_taken": False, "cause": "x",
    }  # fmt: skip
    return rig.hear(by, wire.Summon(epoch=epoch, rank=rank, **(said | fields)))  # type: ignore[arg-type]


def vote(rig: Rig, by: str, leader: str = "n1", epoch: int = 1, held: Claim | None = None) -> list[ef.Effect]:
    return rig.hear(by, wire.Voted("c", 0, epoch, Vote(epoch, f"{leader}-id"), held))


def started(rig: Rig, instance: int = 1) -> list[ef.Effect]:
    return rig.tell(ev.Started(instance, 0.001))


def test_rank_0_proposes_to_all_electors_and_starts_at_once(rig: Rig) -> None:
    summon(rig)
    assert rig.receivers(wire.Propose) == ["n2", "n3", "n4", "n5"]
    (proposal, *_) = rig.sent(wire.Propose)
    assert (proposal.epoch, proposal.convener, proposal.electors) == (1, "n2-id", IDS)
    assert [s.instance for s in rig.did(ef.Start)] == [1]
    assert rig.notes("election.proposed")[0]["rank"] == 0


def test_rank_2_waits_two_staggers(rig: Rig) -> None:
    summon(rig, rank=2)
    assert not rig.did(ef.Start)
    rig.wait(0.0079)
    assert not rig.sent(wire.Propose)
    rig.wait(0.0002)
    assert rig.sent(wire.Propose) and rig.did(ef.Start)


def test_proceed_lets_it_go_at_once(rig: Rig) -> None:
    summon(rig, rank=2)
    rig.hear("n3", wire.Proceed("c", 0, 1))  # not its convener
    rig.hear("n2", wire.Proceed("c", 0, 9))  # not its epoch
    assert not rig.sent(wire.Propose)
    rig.hear("n2", wire.Proceed("c", 0, 1))
    assert rig.sent(wire.Propose)
    rig.hear("n2", wire.Proceed("c", 0, 1))
    assert not rig.sent(wire.Propose)


@pytest.mark.parametrize(("electors", "others"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)])
def test_it_wins_with_the_acks_that_are_needed(rig: Rig, electors: int, others: int) -> None:
    summon(rig, electors=IDS[:electors])
    for name in ("n2", "n3")[:others]:
        assert not rig.notes("election.won")
        vote(rig, name)
    (won,) = rig.notes("election.won")
    assert won["acks"] == ["n1", "n2", "n3"][: others + 1] and won["electors"] == electors
    assert rig.node.claims.own()[0].ready is False


def test_the_claim_is_ready_when_the_copy_is_whichever_comes_first(rig: Rig) -> None:
    summon(rig)
    started(rig)
    assert not rig.notes("momentum.started") and not rig.did(ef.SetEndpoints)
    vote(rig, "n2")
    vote(rig, "n3")
    assert rig.notes("momentum.started") and rig.node.claims.own()[0].ready
    assert rig.did(ef.SetEndpoints)[0].endpoints == (ef.Endpoint(1, "", 0),)

    other = Rig()
    other.begin()
    other.know(record("c"))
    summon(other, electors=IDS[:1])
    assert not other.node.claims.own()[0].ready
    started(other)
    assert other.node.claims.own()[0].ready and other.did(ef.SetEndpoints)


def test_acks_of_those_not_named_do_not_count(rig: Rig) -> None:
    summon(rig, electors=IDS[:3])
    vote(rig, "n4")
    vote(rig, "n5")
    assert not rig.node.claims.own() and rig.count("vote_not_an_elector") == 2


def test_votes_of_an_earlier_election_do_not_count(rig: Rig) -> None:
    """We won epoch 5 once and ended it: those votes are no votes for what we propose now."""
    summon(rig, epoch=3, electors=IDS[1:])
    for name in ("n2", "n3", "n4"):
        rig.hear(name, wire.Voted("c", 0, 3, Vote(1, "n1-id")))
    assert not rig.node.claims.own()


def test_acks_of_its_first_epoch_count_though_it_was_called_again(rig: Rig) -> None:
    summon(rig, epoch=1, electors=IDS[1:])
    summon(rig, epoch=2, by="n3", electors=IDS[1:])
    vote(rig, "n2", epoch=1)
    vote(rig, "n4", epoch=1)
    vote(rig, "n5", epoch=1)
    assert rig.notes("election.won")[0]["epoch"] == 1
    assert len([s for s in rig.node.momentum.copies]) == 1


def test_called_again_it_proposes_with_the_same_copy(rig: Rig) -> None:
    summon(rig, epoch=1)
    summon(rig, epoch=2)
    assert rig.sent(wire.Propose)[0].epoch == 2 and not rig.did(ef.Start)
    summon(rig, epoch=2)
    assert not rig.effects


def test_with_proof_it_proposes_whatever_its_rank(rig: Rig) -> None:
    proof = tuple((e, Vote(1, e)) for e in IDS)
    summon(rig, epoch=2, rank=3, proof=proof)
    assert rig.sent(wire.Propose)[0].proof == proof


def test_another_winner_ends_it_and_its_copy(rig: Rig) -> None:
    summon(rig)
    for name in ("n2", "n3", "n4"):
        vote(rig, name, leader="n5")
    assert rig.did(ef.Stop) == [ef.Stop(1, "n5 won")] and not rig.node.momentum.copies
    started(rig)
    assert rig.count("started_after_stop") == 1 and not rig.effects


def test_the_conveners_word_ends_it(rig: Rig) -> None:
    summon(rig, rank=1)
    rig.hear("n3", wire.Won("c", 0, 1, "n5-id"))  # not its convener
    rig.hear("n2", wire.Won("c", 0, 0, "n5-id"))  # an earlier epoch
    rig.hear("n2", wire.Won("c", 0, 1, "n1-id"))  # itself
    assert rig.node.sizes()["candidacies"][0] == 1
    rig.hear("n2", wire.Won("c", 0, 1, "n5-id"))
    assert rig.node.sizes()["candidacies"][0] == 0
    assert not [e for e in rig.wait(0.1) if isinstance(e, ef.Start)]


def test_a_holder_ends_it_unless_we_know_better(rig: Rig) -> None:
    summon(rig)
    rig.lose("n5")
    vote(rig, "n2", held=claim("c", "n5"))  # that elector has not heard of it yet
    assert rig.node.momentum.copies
    vote(rig, "n3", held=claim("c", "n4"))
    assert rig.did(ef.Stop) == [ef.Stop(1, "n4 holds the slot")]


def test_a_dead_leader_does_not_end_it(rig: Rig) -> None:
    summon(rig)
    rig.lose("n5")
    for name in ("n2", "n3", "n4"):
        vote(rig, name, leader="n5")
    assert rig.node.momentum.copies


def test_a_holder_that_is_called_says_that_it_holds(rig: Rig) -> None:
    summon(rig, electors=IDS[:1])
    summon(rig, epoch=2)
    assert [c.claim.capsule for c in rig.sent(wire.Claimed, "n2")] == ["c"] and not rig.sent(wire.Propose)


# --- refusing -------------------------------------------------------------------------------------


def declined(rig: Rig) -> wire.Decline:
    (word,) = rig.sent(wire.Decline, "n2")
    return word


def test_a_record_that_has_not_come_is_a_reason_and_is_asked_for(rig: Rig) -> None:
    summon(rig, capsule="new")
    assert declined(rig).reason == "its record has not come here yet"
    assert rig.sent(wire.Lookup, "n2") == [wire.Lookup("new", 0)]
    rig.hear("n2", wire.Found("new", 0, "new", 1, signed(record("new"))))
    summon(rig, capsule="new")
    assert rig.sent(wire.Propose)
    summon(rig, generation=9)
    assert declined(rig).reason == "its record has not come here yet"


def test_what_does_not_fit_is_refused_with_reservations_counted(rig: Rig) -> None:
    rig.know(record("big", resources=Resources(0, 6 * GIB)), record("too", resources=Resources(0, 6 * GIB)))
    summon(rig, capsule="big")
    summon(rig, capsule="too")
    assert declined(rig).reason == "needs 6144 MiB of memory, 2048 MiB are free"
    assert rig.notes("election.declined")[0]["capsule"] == "too"


def test_another_orbit_and_leaving() -> None:
    rig = Rig(place=Place(orbits=("gpu",)))
    rig.begin()
    rig.meet("n2")
    rig.know(record("c"))
    summon(rig)
    assert declined(rig).reason == "it does not watch orbit default"
    rig = Rig()
    rig.begin()
    rig.meet("n2")
    rig.know(record("c"))
    rig.tell(ev.Leave())
    summon(rig)
    assert declined(rig).reason == "it is draining"


def test_before_it_joined() -> None:
    rig = Rig()
    rig.begin(("/n2",), kept=(signed(record("c")),))
    rig.meet("n2")
    summon(rig)
    assert declined(rig).reason == "it has not joined yet"


def test_starts_at_once_are_limited() -> None:
    rig = Rig(Settings(starts_max=1))
    rig.begin()
    rig.meet("n2")
    rig.know(record("c"), record("d"))
    summon(rig)
    summon(rig, capsule="d")
    assert declined(rig).reason == "it is busy starting other copies"


def test_candidacies_are_bounded(rig: Rig) -> None:
    for slot in range(CANDIDACIES_MAX):
        summon(rig, slot=slot, rank=9)
    summon(rig, slot=CANDIDACIES_MAX, rank=9)
    assert declined(rig).reason == "it is busy with other elections"


# --- giving up ------------------------------------------------------------------------------------


def test_a_copy_that_fails_frees_the_votes_and_tells_the_convener(rig: Rig) -> None:
    summon(rig)
    rig.tell(ev.StartFailed(1, "out of ports", False))
    assert declined(rig).reason == "its copy failed: out of ports" and declined(rig).proposed
    assert rig.receivers(wire.Withdrawn) == ["n2", "n3", "n4", "n5"]
    assert rig.notes("momentum.failed") and not rig.node.momentum.copies


def test_an_artifact_that_cannot_be_had_at_all_is_told_before_anybody_votes(rig: Rig) -> None:
    """The publisher and every keeper are gone: the copy fails while it is begun."""
    alone = Rig()
    alone.begin()
    alone.hear("n2", wire.Records((signed(record("c", artifacts=(ARTIFACT,)), "n1-id"),)))
    summon(alone, electors=IDS[:1])
    assert declined(alone).reason == "its copy failed: no peer that has it could be reached"
    assert (
        not alone.notes("election.proposed") and not alone.node.claims.own() and not alone.node.momentum.copies
    )


def test_a_newer_generation_voids_it(rig: Rig) -> None:
    summon(rig)
    rig.hear("n3", wire.Announce(signed(record("c", 2))))
    assert declined(rig).reason == "generation 2 came" and rig.did(ef.Stop)
    assert rig.sent(wire.Withdrawn, "n4")


def test_without_a_result_it_withdraws_and_frees_the_votes(rig: Rig) -> None:
    summon(rig)
    rig.wait(1.9)
    assert rig.node.momentum.copies
    rig.wait(0.2)
    assert not rig.node.momentum.copies and rig.sent(wire.Withdrawn, "n3") and not rig.sent(wire.Decline)


def test_leaving_ends_candidacies(rig: Rig) -> None:
    summon(rig)
    rig.tell(ev.Leave())
    assert not rig.node.momentum.copies and declined(rig).reason == "its node leaves"


def test_own_gravity_counts_what_is_here_now(rig: Rig) -> None:
    summon(rig)
    first = rig.sent(wire.Propose)[0].gravity
    rig.tell(ev.Sampled(Capacity(4000, 8 * GIB, 1000, 8 * GIB, 3500)))
    summon(rig, slot=1)
    assert rig.sent(wire.Propose)[0].gravity < first


def test_a_caller_far_away_weighs_less(rig: Rig) -> None:
    summon(rig, caller="n1-id")
    near = rig.sent(wire.Propose)[0].gravity
    rig.node.members.trips.sample("n3-id", 0.2)
    summon(rig, slot=1)
    assert rig.sent(wire.Propose)[0].gravity < near


def test_profiles_tell_what_weighs_against_a_node(rig: Rig) -> None:
    assert rig.node.profile().failures_milli == 0
    summon(rig)
    rig.tell(ev.StartFailed(1, "out of ports", False))
    assert rig.node.profile().failures_milli == 1000
    summon(rig, slot=1)
    rig.tell(ev.StartFailed(2, "the component traps", True))
    assert rig.node.profile().failures_milli == 1000
    assert profile("n2").failures_milli == 0
