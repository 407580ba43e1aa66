"""An elector: one leader an epoch, votes that stand for a while, silence after a restart, nonsense counted."""

import pytest

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.model import Capacity, Vote
from falak.core.settings import EPOCH_JUMP_MAX
from falak.core.voting import EARLY_MAX
from tests.unit.core.rig import Rig, claim, profile, record, signed

IDS = tuple(f"n{i}-id" for i in range(1, 6))


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.begin()
    made.meet("n2", "n3", "n4", "n5")
    made.know(record("c"))
    return made


def proposal(epoch: int = 1, convener: str = "n4", **fields: object) -> wire.Propose:
    said: dict[str, object] = {
        "capsule": "c",
        "generation": 1,
        "slot": 0,
        "gravity": 7,
        "electors": IDS,
        "cause": "x",
    }
    return wire.Propose(epoch=epoch, convener=f"{convener}-id", capacity=Capacity(), **(said | fields))  # type: ignore[arg-type]


def propose(rig: Rig, by: str, *args: object, **fields: object) -> Vote | None:
    """What the elector answers the candidate."""
    rig.hear(by, proposal(*args, **fields))  # type: ignore[arg-type]
    answers = rig.sent(wire.Voted, by)
    return answers[0].vote if answers else None


def test_the_first_proposal_is_acked_to_candidate_and_convener(rig: Rig) -> None:
    assert propose(rig, "n2") == Vote(1, "n2-id")
    assert rig.receivers(wire.Voted) == ["n2", "n4"]
    assert rig.notes("election.ack") == [
        {"capsule": "c", "slot": 0, "epoch": 1, "candidate": "n2", "gravity": 7}
    ]


def test_a_convener_that_proposes_itself_is_answered_once(rig: Rig) -> None:
    propose(rig, "n4")
    assert rig.receivers(wire.Voted) == ["n4"]


def test_later_ones_are_told_who_leads(rig: Rig) -> None:
    propose(rig, "n2")
    assert propose(rig, "n3") == Vote(1, "n2-id") and not rig.notes("election.ack")


def test_a_repeated_proposal_is_answered_alike(rig: Rig) -> None:
    assert propose(rig, "n2") == propose(rig, "n2") == Vote(1, "n2-id")


def test_a_vote_stands_for_60_ms_against_a_higher_epoch(rig: Rig) -> None:
    propose(rig, "n2")
    rig.wait(0.05)
    assert propose(rig, "n3", 2) == Vote(1, "n2-id") and rig.count("vote_held") == 1
    rig.wait(0.02)
    assert propose(rig, "n3", 2) == Vote(2, "n3-id")


def test_the_same_leader_may_go_on_to_a_higher_epoch_at_once(rig: Rig) -> None:
    propose(rig, "n2")
    assert propose(rig, "n2", 2) == Vote(2, "n2-id")


def test_a_lower_epoch_is_never_voted_in(rig: Rig) -> None:
    propose(rig, "n2", 5)
    rig.wait(1.0)
    assert propose(rig, "n3", 4) == propose(rig, "n3", 5) == Vote(5, "n2-id")


def split_proof(epoch: int = 1) -> wire.Proof:
    leaders = dict(zip(IDS, ("n2-id", "n2-id", "n3-id", "n3-id", "n5-id"), strict=True))
    return tuple((e, Vote(epoch, who)) for e, who in leaders.items())


def test_proof_that_nobody_can_win_frees_a_vote(rig: Rig) -> None:
    propose(rig, "n2")
    assert propose(rig, "n3", 2, proof=split_proof()) == Vote(2, "n3-id")


def test_proof_that_does_not_fit_our_own_vote_is_none(rig: Rig) -> None:
    propose(rig, "n5")
    assert propose(rig, "n3", 2, proof=split_proof()) == Vote(1, "n5-id")


def test_a_suspect_leader_holds_no_vote(rig: Rig) -> None:
    propose(rig, "n2")
    rig.lose("n2")
    assert propose(rig, "n3", 2) == Vote(2, "n3-id")


def test_a_leader_that_gives_up_frees_its_vote(rig: Rig) -> None:
    propose(rig, "n2")
    rig.hear("n5", wire.Withdrawn("c", 0, 1))  # not the leader: nothing
    assert propose(rig, "n3", 2) == Vote(1, "n2-id")
    rig.hear("n2", wire.Withdrawn("c", 0, 1))
    assert propose(rig, "n3", 2) == Vote(2, "n3-id")


def test_a_claim_that_ended_frees_the_vote_that_made_it(rig: Rig) -> None:
    propose(rig, "n2", 3)
    rig.hear("n2", wire.Claimed(claim("c", "n2", epoch=3, ready=False), Capacity()))
    rig.hear("n2", wire.Released(claim("c", "n2", epoch=3, sequence=2), "it crashed"))
    assert propose(rig, "n3", 4) == Vote(4, "n3-id")


def test_a_live_claim_is_told_and_nobody_acked(rig: Rig) -> None:
    rig.hear("n5", wire.Claimed(claim("c", "n5"), Capacity()))
    rig.hear("n2", proposal())
    (answer,) = rig.sent(wire.Voted, "n2")
    assert answer.claim == claim("c", "n5") and answer.vote == Vote()


def test_a_claim_of_an_older_generation_protects_nothing(rig: Rig) -> None:
    rig.hear("n5", wire.Claimed(claim("c", "n5"), Capacity()))
    assert propose(rig, "n2", generation=2) == Vote(1, "n2-id")


@pytest.mark.parametrize(
    ("fields", "odd"),
    [
        ({"electors": IDS[1:]}, "proposal_not_an_elector"),
        ({"electors": (*IDS, "n6-id")}, "proposal_not_an_elector"),
        ({"electors": (*IDS[:4], "n1-id")}, "proposal_not_an_elector"),
        ({"epoch": 0}, "proposal_epoch"),
    ],
)
def test_nonsense_is_counted_and_not_answered(rig: Rig, fields: dict[str, object], odd: str) -> None:
    assert propose(rig, "n2", **fields) is None and rig.count(odd) == 1 and not rig.effects


def test_an_epoch_that_jumps_is_refused_where_one_is_known(rig: Rig) -> None:
    assert propose(rig, "n2", 70_000) == Vote(70_000, "n2-id")  # a fresh elector knows none
    rig.wait(1.0)
    assert propose(rig, "n3", 70_001 + EPOCH_JUMP_MAX) is None and rig.count("proposal_epoch") == 1
    assert propose(rig, "n3", 70_000 + EPOCH_JUMP_MAX) == Vote(70_000 + EPOCH_JUMP_MAX, "n3-id")


def test_an_unknown_convener_is_not_written_to(rig: Rig) -> None:
    rig.hear("n2", proposal(convener="stranger"))
    assert rig.receivers(wire.Voted) == ["n2"] and rig.count("proposal_unknown_convener") == 1


# --- too early ------------------------------------------------------------------------------------------------


def test_a_proposal_before_its_record_waits_for_it(rig: Rig) -> None:
    assert propose(rig, "n2", capsule="new") is None and rig.count("proposal_unknown_capsule") == 1
    rig.wait(0.01)
    rig.hear("n3", wire.Announce(signed(record("new"))))
    assert [v.vote for v in rig.sent(wire.Voted, "n2")] == [Vote(1, "n2-id")]


def test_it_does_not_wait_for_ever(rig: Rig) -> None:
    propose(rig, "n2", capsule="new")
    rig.wait(2.1)
    rig.hear("n3", wire.Announce(signed(record("new"))))
    assert not rig.sent(wire.Voted) and rig.count("proposal_too_early") == 1


def test_a_candidate_that_gave_up_is_not_answered_late(rig: Rig) -> None:
    propose(rig, "n2", capsule="new")
    rig.hear("n2", wire.Withdrawn("new", 0, 1))
    rig.hear("n3", wire.Announce(signed(record("new"))))
    assert not rig.sent(wire.Voted)


def test_early_proposals_are_bounded(rig: Rig) -> None:
    for i in range(EARLY_MAX + 5):
        propose(rig, "n2", capsule=f"new{i}")
    assert rig.node.sizes()["early proposals"] == (EARLY_MAX, EARLY_MAX)


def restarted() -> Rig:
    rig = Rig(boot=2)
    rig.begin(("/n2",), incarnation=2, kept=(signed(record("c")),))
    rig.meet("n2", "n3", "n4", "n5")
    rig.hear("n2", wire.Welcome(tuple(profile(f"n{i}") for i in range(2, 6))))
    return rig


def test_a_restarted_node_is_silent_for_a_second_and_then_answers_what_waited() -> None:
    rig = restarted()
    assert propose(rig, "n2") is None
    rig.hear("n3", wire.Look("c", 0))
    assert not rig.sent(wire.Saw)
    assert not [e for e in rig.wait(0.99) if isinstance(getattr(e, "message", None), wire.Voted)]
    rig.wait(0.02)
    assert [v.vote for v in rig.sent(wire.Voted, "n2")] == [Vote(1, "n2-id")]
    rig.hear("n3", wire.Look("c", 0))
    assert rig.sent(wire.Saw)


def test_of_a_candidate_only_the_last_early_proposal_is_answered() -> None:
    rig = restarted()
    for epoch in (1, 2, 3):
        propose(rig, "n2", epoch)
    rig.wait(1.1)
    assert [(v.proposed_epoch, v.vote) for v in rig.sent(wire.Voted, "n2")] == [(3, Vote(3, "n2-id"))]


@pytest.mark.parametrize(("incarnation", "contacts"), [(1, ("/n2",)), (2, ())])
def test_a_new_node_and_one_that_starts_a_mesh_vote_at_once(
    incarnation: int, contacts: tuple[str, ...]
) -> None:
    rig = Rig()
    rig.begin(contacts, incarnation=incarnation, kept=(signed(record("c")),))
    rig.meet("n2")
    rig.hear("n2", wire.Welcome((profile("n2"),)))
    assert propose(rig, "n2", electors=("n1-id", "n2-id")) == Vote(1, "n2-id")


def test_before_it_joined_a_node_does_not_vote() -> None:
    rig = Rig()
    rig.begin(("/n2",), kept=(signed(record("c")),))
    rig.meet("n2")
    assert propose(rig, "n2", electors=("n1-id", "n2-id")) is None
    rig.hear("n2", wire.Welcome((profile("n2"),)))
    assert rig.did(ef.Joined) and [v.vote for v in rig.sent(wire.Voted, "n2")] == [Vote(1, "n2-id")]


def test_votes_take_bounded_room(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("falak.core.voting.VOTES_MAX", 4)
    for slot in range(6):
        rig.now += 0.001
        propose(rig, "n2", slot=slot)
    assert len(rig.node.election.voting._votes) <= 4
    assert rig.node.election.voting.vote_on("c", 0) == Vote()
    assert rig.node.election.voting.vote_on("c", 5) == Vote(1, "n2-id")


def test_a_look_shows_vote_and_claim_and_whether_we_convene(rig: Rig) -> None:
    propose(rig, "n2", 4)
    rig.hear("n3", wire.Look("c", 0))
    assert rig.sent(wire.Saw, "n3") == [wire.Saw("c", 0, Vote(4, "n2-id"), None, False)]
    rig.hear("n5", wire.Call("c", "cause", Capacity()))
    rig.hear("n3", wire.Look("c", 0))
    assert rig.sent(wire.Saw, "n3")[0].convening


def test_leaving_does_not_stop_voting(rig: Rig) -> None:
    rig.tell(ev.Leave())
    assert propose(rig, "n2") == Vote(1, "n2-id")
