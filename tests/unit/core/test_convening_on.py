"""A convener that goes on: epochs that decide nothing, pauses, and a holder that nobody but it doubts."""

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.convening import PAUSE_S, ROUNDS_MAX
from tests.unit.core.rig import Rig, claim
from tests.unit.core.test_convening import FIVE, MINE, call, claimed, rig, summoned, vote

__all__ = ["rig"]


def epochs_called(effects: list[ef.Effect]) -> int:
    return sum(isinstance(e, ef.Note) and e.event == "election.called" for e in effects)


def refusals(effects: list[ef.Effect]) -> list[str]:
    sends = (e.message for e in effects if isinstance(e, ef.Send))
    return [message.reason for message in sends if isinstance(message, wire.Refused)]


def test_epochs_that_decide_nothing_pause_as_long_as_somebody_waits(rig: Rig) -> None:
    call(rig)
    effects = rig.wait(3.7, alive=FIVE[1:])
    assert epochs_called(effects) == ROUNDS_MAX - 1  # and the first, at once
    assert epochs_called(rig.wait(PAUSE_S - 0.15)) == 0
    assert epochs_called(rig.wait(3.8, alive=FIVE[1:])) == ROUNDS_MAX
    claimed(rig, "n5", epoch=20)
    assert rig.sent(wire.Holders, "n3"), "a claim in the pause ends it"


def test_the_refusal_at_the_end_says_who_was_not_heard(rig: Rig) -> None:
    call(rig)
    assert not refusals(rig.wait(7.9, alive=FIVE[1:]))
    (reason,) = refusals(rig.wait(0.2))
    assert "n2: no vote of it was heard" in reason
    rig.wait(10.0, alive=FIVE[1:])
    assert rig.node.sizes()["ballots"][0] == 0


def test_electors_that_come_or_go_end_a_pause_at_once(rig: Rig) -> None:
    call(rig)
    rig.wait(3.7, alive=FIVE[1:])
    rig.meet("n2", boot=2, incarnation=2)
    assert rig.receivers(wire.Look) or summoned(rig)


def test_without_callers_nothing_goes_on_for_ever(rig: Rig) -> None:
    call(rig)
    rig.meet("n3", boot=2, incarnation=2)
    rig.wait(4.0, alive=FIVE[1:])
    assert rig.node.sizes()["ballots"][0] == 0


# --- a holder that is doubted here only -----------------------------------------------------------


def doubting(rig: Rig) -> None:
    """n5 holds the slot, and this node could not hand it a request."""
    claimed(rig, "n5")
    rig.tell(ev.Unreachable(MINE, "n5-id"))


def test_a_claim_doubted_here_is_given_to_callers_elsewhere(rig: Rig) -> None:
    doubting(rig)
    call(rig)
    assert summoned(rig) and not rig.sent(wire.Holders)
    vote(rig, "n2", "", epoch=0, held=claim(MINE, "n5"))
    assert rig.sent(wire.Holders, "n3") == [wire.Holders(MINE, "of n3", (claim(MINE, "n5"),))]
    assert rig.node.sizes()["ballots"][0] == 0, "nobody waits any more"


def test_a_caller_here_cannot_use_it_and_goes_on_waiting(rig: Rig) -> None:
    doubting(rig)
    rig.tell(ev.Wanted(MINE))
    call(rig)
    vote(rig, "n2", "", epoch=0, held=claim(MINE, "n5"))
    assert rig.sent(wire.Holders, "n3") and not rig.did(ef.Refuse)
    assert rig.node.sizes()["ballots"][0] == 1 and rig.node.sizes()["callers of one capsule"][0] == 1


def test_a_claim_of_a_suspect_is_not_given_away(rig: Rig) -> None:
    claimed(rig, "n5")
    rig.lose("n5")
    call(rig)
    vote(rig, "n2", "", epoch=0, held=claim(MINE, "n5"))
    assert not rig.sent(wire.Holders)
