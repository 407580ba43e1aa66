"""Draining: the order in which a copy ends, and a node that is to run nothing."""

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.settings import Settings
from tests.unit.core.rig import Rig, claim, record, signed


def serving(drains: bool = False) -> Rig:
    rig = Rig()
    rig.begin()
    rig.hear("n2", wire.Announce(signed(record("c"))))
    rig.tell(ev.Wanted("c"))
    rig.tell(ev.Started(1, 0.001))
    rig.drains = drains
    return rig


def order(rig: Rig) -> list[str]:
    kinds = (ef.SetEndpoints, ef.DrainCopy, ef.Stop, ef.Left)
    return [type(effect).__name__ for effect in rig.effects if isinstance(effect, kinds)]


def test_claim_and_endpoints_go_first_then_requests_finish_then_it_stops() -> None:
    rig = serving()
    rig.tell(ev.Leave())
    assert order(rig) == ["SetEndpoints", "DrainCopy"] and rig.node.claims.own() == []
    assert rig.did(ef.SetEndpoints)[0].endpoints == ()
    rig.wait(1.5)
    assert order(rig) == [], "requests are under way"
    rig.tell(ev.Drained(1))
    assert order(rig) == ["Stop", "Left"]
    assert rig.notes("momentum.ended")[0]["drained_ms"] == 1500.0


def test_the_claim_is_released_to_the_electors_before_the_copy_drains() -> None:
    rig = Rig()
    rig.begin()
    rig.meet("n2", "n3")
    rig.know(record("c"))
    rig.node.turn.now, rig.node.turn.effects = rig.now, []
    copy = rig.node.momentum.begin(record("c"), 0, "cause")
    rig.node.momentum.confirm(copy)
    rig.node.claims.hold(claim("c", "n1"))
    rig.tell(ev.Started(1, 0.001))
    rig.drains = False
    rig.tell(ev.Drain(True))
    released = next(
        i for i, e in enumerate(rig.effects) if isinstance(e, ef.Send) and isinstance(e.message, wire.Released)
    )
    drained = next(i for i, e in enumerate(rig.effects) if isinstance(e, ef.DrainCopy))
    assert released < drained


def test_the_grace_bounds_it() -> None:
    rig = serving()
    rig.tell(ev.Leave())
    rig.wait(Settings().drain_grace_s - 0.01)
    assert order(rig) == []
    rig.wait(0.02)
    assert order(rig) == ["Stop", "Left"] and rig.count("drain_grace_over") == 1
    rig.tell(ev.Drained(1))
    assert order(rig) == [], "it comes too late to matter"


def test_a_copy_that_ends_by_itself_while_it_drains_is_no_failure() -> None:
    rig = serving()
    rig.tell(ev.Drain(True))
    rig.tell(ev.Ended(1, "exit code 0"))
    assert not rig.notes("momentum.failed") and rig.notes("momentum.ended")[0]["reason"] == "its node drains"
    assert not rig.node.momentum.copies and rig.node.momentum.node_failure_weight() == 0.0


def test_a_stop_that_arrives_before_its_start() -> None:
    rig = Rig()
    rig.begin()
    rig.hear("n2", wire.Announce(signed(record("c"))))
    rig.tell(ev.Wanted("c"))
    rig.tell(ev.Drain(True))
    assert order(rig) == ["Stop"], "what has not started has nothing under way"
    rig.tell(ev.Started(1, 0.001))
    assert rig.count("started_after_stop") == 1 and not rig.did(ef.SetEndpoints)


def test_a_drained_node_stays_and_takes_no_copies_until_it_is_told() -> None:
    rig = serving(drains=True)
    rig.meet("n2")
    rig.tell(ev.Drain(True))
    assert (
        rig.node.profile().draining
        and rig.notes("node.drain")
        and order(rig) == ["SetEndpoints", "DrainCopy", "Stop"]
    )
    assert not [e for e in rig.effects if isinstance(e, ef.Send) and isinstance(e.message, wire.Goodbye)]
    rig.tell(ev.Drain(True))
    assert not rig.notes("node.drain")
    rig.tell(ev.Drain(False))
    assert not rig.node.profile().draining and rig.notes("node.undrain")


def test_a_node_says_at_once_that_it_drains() -> None:
    rig = serving(drains=True)
    rig.tell(ev.Drain(True))
    beats = [e.message for e in rig.did(ef.Gossip) if isinstance(e.message, wire.Heartbeat)]
    assert [beat.profile.draining for beat in beats] == [True]


def test_leaving_while_it_drains_leaves_and_nothing_takes_that_back() -> None:
    rig = serving()
    rig.tell(ev.Drain(True))
    rig.tell(ev.Leave())
    rig.tell(ev.Drain(False))
    rig.tell(ev.Leave())
    assert rig.node.profile().draining
    rig.tell(ev.Drained(1))
    assert order(rig) == ["Stop", "Left"]


def test_a_node_without_copies_leaves_at_once() -> None:
    rig = Rig()
    rig.begin()
    rig.tell(ev.Leave())
    assert order(rig) == ["Left"]
    rig.tell(ev.Leave())
    assert order(rig) == []


def test_what_lost_its_settled_claim_finishes_what_is_under_way() -> None:
    rig = serving()
    rig.meet("n2")
    rig.hear("n2", wire.Outclaimed(claim("c", "n2", epoch=9)))
    assert order(rig)[-1] == "DrainCopy" and rig.node.claims.own() == []
    rig.tell(ev.Drained(1))
    assert order(rig) == ["Stop"]


def test_a_withdrawn_capsule_drains_and_nothing_is_sent_to_others() -> None:
    rig = serving()
    rig.node.turn.now, rig.node.turn.effects = rig.now, []
    del rig.node.orbits.records["c"]
    rig.node.record_gone("c")
    rig.effects = list(rig.node.turn.effects)
    assert order(rig) == ["SetEndpoints", "DrainCopy"]
    assert rig.notes("momentum.draining")[0]["reason"] == "it was withdrawn"


def test_a_withdrawn_capsule_refuses_whoever_waits() -> None:
    rig = Rig()
    rig.begin()
    rig.meet("n2", "n3")
    rig.know(record("c"))
    rig.tell(ev.Wanted("c"))
    rig.node.turn.now, rig.node.turn.effects = rig.now, []
    rig.node.record_gone("c")
    (refuse,) = [e for e in rig.node.turn.effects if isinstance(e, ef.Refuse)]
    assert (refuse.status, refuse.reason) == (404, "c was withdrawn")
