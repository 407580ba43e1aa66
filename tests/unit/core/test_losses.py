"""Self-preservation and flapping: counts of drops, what they forbid, and when that ends."""

import pytest

from falak.core import events as ev
from falak.core import wire
from falak.core.effects import Note
from falak.core.losses import FLAPPED, FLAPPING_REST_S, PRESERVE_S, Losses
from falak.core.turn import Turn
from tests.unit.core.rig import Rig, profile, record


@pytest.fixture
def turn() -> Turn:
    made = Turn("n1-id", 1)
    made.now = 100.0
    return made


def test_more_than_a_third_within_a_minute_preserves(turn: Turn) -> None:
    losses = Losses(turn)
    for left, peer in ((8, "a"), (7, "b"), (6, "c")):
        losses.dropped(peer, left)
    assert not losses.preserving(6)  # three of nine are a third, not more
    losses.dropped("d", 5)
    assert losses.preserving(5)
    turn.now += PRESERVE_S + 0.1
    assert not losses.preserving(5)


def test_the_beginning_is_told_once(turn: Turn) -> None:
    losses = Losses(turn)
    losses.dropped("a", 2)
    losses.dropped("b", 1)
    losses.dropped("b", 1)
    told = [note for note in turn.effects if isinstance(note, Note) and note.event == "node.preserving"]
    assert [dict(note.fields) for note in told] == [{"lost": 2, "of": 3}]


def test_who_is_back_is_no_loss(turn: Turn) -> None:
    losses = Losses(turn)
    losses.dropped("a", 1)
    assert losses.preserving(1)
    losses.returned("a")
    assert not losses.preserving(2)


def test_three_drops_in_five_minutes_are_flapping_until_the_rest_is_over(turn: Turn) -> None:
    losses = Losses(turn)
    for _ in range(2):
        losses.dropped("a", 5)
        losses.returned("a")
        turn.now += 100
    assert not losses.flapping("a")
    losses.dropped("a", 5)
    losses.returned("a")
    assert losses.flapping("a") and not losses.flapping("b")
    turn.now += FLAPPING_REST_S
    assert not losses.flapping("a")
    turn.now += 300
    losses.dropped("a", 5)
    losses.returned("a")
    assert not losses.flapping("a")  # the earlier ones are long ago


def test_it_takes_two_to_say_that_this_node_flaps_and_one_in_a_small_cell(turn: Turn) -> None:
    losses = Losses(turn)
    losses.told("a", True)
    assert losses.flaps_itself(3) and not losses.flaps_itself(4)
    losses.told("b", True)
    assert losses.flaps_itself(4)
    losses.told("a", False)
    assert not losses.flaps_itself(4)
    losses.told("c", True)
    turn.now += FLAPPING_REST_S
    assert not losses.flaps_itself(4)


def test_what_is_forgotten_counts_for_nothing(turn: Turn) -> None:
    losses = Losses(turn)
    losses.dropped("a", 1)
    losses.told("a", True)
    losses.forget("a")
    assert not losses.preserving(1) and not losses.flaps_itself(2)


def flapped() -> Rig:
    """A node that saw n2 go and come three times."""
    rig = Rig()
    rig.begin()
    rig.meet("n2", "n3", "n4", "n5")
    for _ in range(3):
        rig.lose("n2")
        rig.wait(1.1)
        rig.meet("n2")
    return rig


def test_a_lost_member_that_was_started_again_is_no_loss() -> None:
    rig = Rig()
    rig.begin()
    rig.meet("n2", "n3")
    for name in ("n2", "n3"):
        rig.lose(name)
    rig.wait(1.1)
    assert rig.node.members.preserving()
    rig.meet("n2", boot=2, incarnation=2)
    assert not rig.node.members.preserving()


def test_a_node_that_flaps_is_no_candidate_here_and_is_told_so() -> None:
    rig = flapped()
    rig.know(record("c"))
    ranking = rig.node.election.rank(record("c"), "n1-id", frozenset())
    assert ranking.refusals == {"n2-id": FLAPPED} and len(ranking.candidates) == 4
    rig.tell(ev.LinkDown("n2-id", "closed"))
    rig.link("n2")
    assert [hello.flapping for hello in rig.sent(wire.Hello, "n2")] == [True]


def test_a_node_that_is_told_that_it_flaps_refuses_candidacy() -> None:
    rig = Rig()
    rig.begin()
    rig.meet("n2", "n3", "n4", "n5")
    rig.know(record("c"))
    for name in ("n2", "n3"):
        rig.hear(name, wire.Hello(profile(name), flapping=True))
    electors = tuple(f"n{i}-id" for i in range(1, 6))
    rig.hear("n2", wire.Summon("c", 1, 0, 1, 0, 1000, electors, "n2-id", False, "cause"))
    assert [word.reason for word in rig.sent(wire.Decline, "n2")] == [FLAPPED]
