"""Copies from start to end: the table of transitions, what is reserved, whose fault a failure is."""

import itertools

import pytest

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.artifacts import PREPARED
from falak.core.model import Capacity, Record, Resources
from falak.core.momentum import (
    ACTIVE,
    DRAINING,
    END,
    FAILURE,
    START,
    TRANSITIONS,
    Copy,
    ImpossibleTransition,
)
from falak.core.settings import Settings
from tests.unit.core.rig import ARTIFACT, GIB, Rig, claim, record, signed

STATES = (START, ACTIVE, DRAINING, FAILURE, END)


def rig_with(*records: Record, settings: Settings | None = None) -> Rig:
    rig = Rig(settings)
    rig.begin()
    for what in records:
        rig.hear("n2", wire.Announce(signed(what)))
    return rig


def run(rig: Rig, name: str = "c") -> list[ef.Effect]:
    """A request at a lone node: elected at once."""
    return rig.tell(ev.Wanted(name))


def copies(rig: Rig) -> list[Copy]:
    return list(rig.node.momentum.copies.values())


@pytest.mark.parametrize(("one", "other"), list(itertools.product(STATES, STATES)))
def test_only_transitions_of_the_table_are_possible(one: str, other: str) -> None:
    rig = rig_with(record("c"))
    copy = Copy(9, record("c"), 0, "cause", 0.0, state=one)
    if (one, other) in TRANSITIONS:
        rig.node.momentum._go(copy, other, "because")
        assert copy.state == other and copy.history == [f"{one} -> {other}: because"]
    else:
        with pytest.raises(ImpossibleTransition, match=f"copy 9 of c: {one} -> {other}: because"):
            rig.node.momentum._go(copy, other, "because")


def test_the_table_is_what_the_documentation_says() -> None:
    assert {f"{a}>{b}" for a, b in TRANSITIONS} == {
        "start>active", "start>failure", "start>end", "active>draining", "active>end", "active>failure",
        "draining>end",
    }  # fmt: skip


def test_a_copy_starts_serves_and_ends() -> None:
    rig = rig_with(record("c"))
    run(rig)
    assert rig.did(ef.Start) == [ef.Start(1, record("c"))]
    rig.tell(ev.Started(1, 0.0042))
    assert rig.notes("momentum.started") == [{"capsule": "c", "slot": 0, "generation": 1, "load_ms": 4.2}]
    rig.tell(ev.Leave())
    kinds = [type(e) for e in rig.effects if isinstance(e, ef.SetEndpoints | ef.Stop)]
    assert kinds == [ef.SetEndpoints, ef.Stop]  # nothing is sent to a copy that is stopped
    said = {"capsule": "c", "slot": 0, "reason": "its node leaves", "drained_ms": 0.0}
    assert rig.notes("momentum.ended") == [said]
    rig.tell(ev.Ended(1, "its node leaves"))
    assert not rig.notes("momentum.failed")  # an end with a cause is no failure


def test_started_after_stop_is_ignored() -> None:
    rig = rig_with(record("c"))
    run(rig)
    rig.hear("n2", wire.Announce(signed(record("c", 2))))
    assert ef.Stop(1, "generation 2 replaced it") in rig.effects
    rig.tell(ev.Started(1, 0.001))
    assert rig.count("started_after_stop") == 1 and not rig.did(ef.SetEndpoints)
    rig.tell(ev.StartFailed(1, "late", False))
    rig.tell(ev.Ended(1, "late"))
    assert not rig.effects


def test_an_end_behind_our_back_is_a_failure_and_the_claim_ends_first() -> None:
    rig = rig_with(record("c"))
    run(rig)
    rig.tell(ev.Started(1, 0.001))
    rig.tell(ev.Ended(1, "killed by signal 9"))
    assert rig.notes("momentum.failed") == [{"capsule": "c", "slot": 0, "reason": "killed by signal 9"}]
    assert rig.did(ef.SetEndpoints) == [ef.SetEndpoints("c", ())]
    assert rig.node.claims.own() == [] and copies(rig) == []
    run(rig)
    assert rig.did(ef.Start)[0].instance == 2  # the next request elects anew


def test_a_start_that_never_ends_is_stopped_at_its_deadline() -> None:
    rig = rig_with(record("c"), settings=Settings(start_s=3.0))
    run(rig)
    rig.wait(2.9)
    assert copies(rig)
    rig.wait(0.2)
    assert ef.Stop(1, "start deadline") in rig.effects
    assert rig.notes("momentum.failed")[0]["reason"] == "it did not start within 3 s"


def test_a_copy_waits_for_its_artifact_to_be_prepared() -> None:
    rig = Rig()
    rig.begin()
    rig.hear("n2", wire.Records((signed(record("c", artifacts=(ARTIFACT,))),)))
    assert not rig.did(ef.Prepare)  # a stranger published it: nobody here has it
    node, now = rig.node, rig.now
    effects = node.step(ev.Wanted("c"), now)
    assert copies(rig)[0].queued and not [e for e in effects if isinstance(e, ef.Start)]
    assert [e for e in effects if isinstance(e, ef.Fetch)] == [ef.Fetch(ARTIFACT, "n2-id")]
    assert [e for e in node.step(ev.Fetched(ARTIFACT.digest, "n2-id"), now) if isinstance(e, ef.Prepare)]
    started = [e for e in node.step(ev.Prepared(ARTIFACT.digest), now) if isinstance(e, ef.Start)]
    assert [s.instance for s in started] == [1] and rig.count("start_unprepared") == 1


def test_an_artifact_that_is_bad_is_the_capsules_fault() -> None:
    rig = Rig()
    rig.begin()
    rig.hear("n2", wire.Records((signed(record("c", artifacts=(ARTIFACT,))),)))
    node, now = rig.node, rig.now
    node.step(ev.Wanted("c"), now)
    node.step(ev.Fetched(ARTIFACT.digest, "n2-id"), now)
    effects = node.step(ev.Prepared(ARTIFACT.digest, "not a component", True), now)
    (refuse,) = [e for e in effects if isinstance(e, ef.Refuse)]
    assert "not a component" in refuse.reason and not copies(rig)
    assert node.momentum.node_failure_weight() == 0.0


def prepared(*made: Record) -> Rig:
    """A lone node that is an elector, with the artifact on its disk."""
    rig = Rig()
    rig.begin(artifacts=(ARTIFACT.digest,))
    rig.know(*made)
    return rig


def test_what_has_to_be_prepared_again_is_and_then_the_copy_starts() -> None:
    rig = prepared(record("c", artifacts=(ARTIFACT,)))
    run(rig)
    assert rig.did(ef.Start) == [ef.Start(1, record("c", artifacts=(ARTIFACT,)))]
    rig.tell(ev.StartFailed(1, "not of this engine", False, unprepared=True))
    kinds = [type(e) for e in rig.effects if isinstance(e, ef.Prepare | ef.Start)]
    assert kinds == [ef.Prepare, ef.Start] and [c.instance for c in copies(rig)] == [1]
    assert rig.notes("artifact.damaged") == [{"digest": ARTIFACT.digest, "reason": "not of this engine"}]
    rig.tell(ev.Started(1, 0.001))
    assert rig.did(ef.SetEndpoints)[0].endpoints[0].instance == 1
    assert rig.node.momentum.node_failure_weight() == 0.0


def test_it_is_prepared_again_once_a_start() -> None:
    rig = prepared(record("c", artifacts=(ARTIFACT,)))
    run(rig)
    rig.tell(ev.StartFailed(1, "not of this engine", False, unprepared=True))
    rig.tell(ev.StartFailed(1, "not of this engine", False, unprepared=True))
    assert rig.notes("momentum.failed")[0]["reason"] == "not of this engine"
    assert rig.node.artifacts.level(ARTIFACT.digest) == PREPARED, "the next start has it made anew"
    assert [start.instance for start in rig.did(ef.Start)] == [2]


def test_a_copy_that_is_prepared_again_can_be_stopped() -> None:
    rig = prepared(record("c", artifacts=(ARTIFACT,)))
    run(rig)
    rig.node.step(ev.StartFailed(1, "gone", False, unprepared=True), rig.now)
    assert copies(rig)[0].queued
    rig.tell(ev.Leave())
    assert not copies(rig) and not rig.did(ef.Stop)
    rig.tell(ev.Prepared(ARTIFACT.digest))
    assert not rig.did(ef.Start)


def test_what_copies_declare_is_reserved_from_their_beginning_to_their_end() -> None:
    rig = rig_with(record("c", resources=Resources(1000, 2 * GIB)))
    run(rig)
    assert rig.node.capacity() == Capacity(4000, 8 * GIB, 3000, 6 * GIB, 0)
    rig.tell(ev.StartFailed(1, "out of ports", False))
    rig.tell(ev.StartFailed(2, "out of ports", False))
    rig.tell(ev.StartFailed(3, "out of ports", False))
    assert rig.node.capacity() == Capacity(4000, 8 * GIB, 4000, 8 * GIB, 0) and not copies(rig)


def test_free_is_never_negative() -> None:
    rig = rig_with(record("c", resources=Resources(3000, 6 * GIB)))
    run(rig)
    rig.tell(ev.Sampled(Capacity(2000, 4 * GIB, 2000, 4 * GIB, 100)))
    assert rig.node.capacity() == Capacity(2000, 4 * GIB, 0, 0, 100)


def test_a_newer_generation_ends_copies_that_still_start() -> None:
    rig = rig_with(record("c"))
    run(rig)
    assert copies(rig)[0].confirmed and copies(rig)[0].state == START
    rig.hear("n2", wire.Announce(signed(record("c", 2))))
    assert [c.record.generation for c in copies(rig)] == [2]  # whoever waited is seen to anew


def test_giving_way_ends_a_copy_that_still_starts() -> None:
    rig = Rig()
    rig.begin()
    rig.hear("n2", wire.Announce(signed(record("c"))))
    run(rig)
    rig.meet("n2")
    rig.hear("n2", wire.Outclaimed(claim("c", "n2", epoch=9)))
    assert not copies(rig) and rig.did(ef.Stop) and rig.node.claims.own() == []
