"""What ``falak ps`` lists of a node: copies whose election was won, and never a candidate that only started one."""

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("falak._native", reason="the extension is not built: `make build`")

from falak.api.peers import Wish, told_ps
from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.model import Vote
from tests.unit.core.rig import Rig, capsule_for, claim, record, signed

FIVE = ("n1", "n2", "n3", "n4", "n5")
NAME = capsule_for(FIVE, lambda electors: electors[0] == "n2")


def candidate() -> Rig:
    """A node that was summoned by n2, proposed itself and starts its copy meanwhile."""
    rig = Rig()
    rig.begin()
    rig.meet(*FIVE[1:])
    rig.hear("n2", wire.Announce(signed(record(NAME))))
    electors = rig.node.orbits.electors_of(NAME)
    rig.hear("n2", wire.Summon(NAME, 1, 0, 1, 0, 1000, electors, "n2-id", False, "of n2"))
    assert rig.sent(wire.Propose) and rig.did(ef.Start)
    return rig


def listed(rig: Rig) -> list[tuple[str, str]]:
    desk: Any = SimpleNamespace(
        node=rig.node, gateway=SimpleNamespace(stats=dict), age_s=lambda since: rig.now - since
    )
    return [(row["capsule"], row["state"]) for row in told_ps(desk, Wish())["items"]]


def vote(rig: Rig, by: str, leader: str) -> None:
    rig.hear(by, wire.Voted(NAME, 0, 1, Vote(1, f"{leader}-id"), None))


def test_a_candidate_lists_nothing_until_it_has_won() -> None:
    rig = candidate()
    assert listed(rig) == []
    rig.tell(ev.Started(1, 0.001))
    assert listed(rig) == [], "its copy answers, and nobody elected it"
    for elector in ("n2", "n3", "n4"):
        vote(rig, elector, "n1")
    assert listed(rig) == [(NAME, "active")]


def test_a_winner_whose_copy_starts_lists_it_as_starting() -> None:
    rig = candidate()
    for elector in ("n2", "n3", "n4"):
        vote(rig, elector, "n1")
    assert listed(rig) == [(NAME, "start")]
    rig.tell(ev.Started(1, 0.001))
    assert listed(rig) == [(NAME, "active")]


def test_a_loser_never_lists_its_copy() -> None:
    rig = candidate()
    for elector in ("n2", "n3", "n4"):
        vote(rig, elector, "n5")
        assert listed(rig) == []
    rig.hear("n5", wire.Claimed(claim(NAME, "n5"), rig.node.capacity()))
    assert listed(rig) == []
