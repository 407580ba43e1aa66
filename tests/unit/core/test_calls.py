"""A caller: whom it asks and when the next, what it believes, what it tells the gateway."""

import pytest

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.calls import BELIEVED_MAX
from falak.core.node import Place
from falak.core.settings import Settings
from tests.unit.core.rig import Rig, capsule_for, claim, handed, profile, record, signed

FIVE = ("n1", "n2", "n3", "n4", "n5")
THEIRS = capsule_for((*FIVE, "n6", "n7"), lambda electors: "n1" not in electors)
"""A capsule that this node of seven is no elector of."""
OTHERS = ("n2", "n3", "n4", "n5", "n6", "n7")


@pytest.fixture
def rig() -> Rig:
    made = Rig(place=Place(orbits=()))
    made.begin()
    made.meet(*OTHERS)
    made.know(record(THEIRS))
    return made


def electors(rig: Rig, name: str = THEIRS) -> list[str]:
    return [e.removesuffix("-id") for e in rig.node.orbits.electors_of(name)]


def want(rig: Rig, name: str = THEIRS) -> list[ef.Effect]:
    return rig.tell(ev.Wanted(name))


def cause(rig: Rig) -> str:
    return rig.node.election.calls._calling[THEIRS].cause


def hear(rig: Rig, by: str) -> None:
    rig.hear(by, wire.Heard(THEIRS, cause(rig)))


def holders(rig: Rig, by: str, *holding: str, **fields: int) -> None:
    rig.hear(by, wire.Holders(THEIRS, cause(rig), tuple(claim(THEIRS, h, **fields) for h in holding)))


def asked(rig: Rig) -> list[str]:
    return rig.receivers(wire.Call)


def endpoints(rig: Rig) -> list[str]:
    return [e.peer.removesuffix("-id") for e in rig.did(ef.SetEndpoints)[-1].endpoints]


def test_one_call_a_capsule_to_the_first_elector(rig: Rig) -> None:
    want(rig)
    assert asked(rig) == electors(rig)[:1] and rig.notes("request.parked") == [{"capsule": THEIRS}]
    want(rig)
    assert not rig.effects


def test_holders_become_endpoints(rig: Rig) -> None:
    want(rig)
    holders(rig, asked(rig)[0], "n5", "n3")
    assert endpoints(rig) == ["n3", "n5"] and rig.node.sizes()["calls"][0] == 0


def test_a_hop_costs_its_distance(rig: Rig) -> None:
    rig.node.members.trips.sample("n5-id", 0.04)
    want(rig)
    holders(rig, asked(rig)[0], "n5")
    assert rig.did(ef.SetEndpoints)[0].endpoints == (ef.Endpoint(0, "n5-id", 41),)


def test_what_is_believed_needs_no_call(rig: Rig) -> None:
    want(rig)
    holders(rig, asked(rig)[0], "n5")
    want(rig)
    assert endpoints(rig) == ["n5"] and not asked(rig)


def test_silence_is_hedged_to_the_next_elector(rig: Rig) -> None:
    want(rig)
    rig.wait(0.004)
    assert not asked(rig)
    rig.wait(0.004)  # 3.5 round trips of 1 ms and 2 ms, jittered
    assert asked(rig) == electors(rig)[1:2]


def test_heard_stops_the_hedge_for_two_seconds(rig: Rig) -> None:
    want(rig)
    hear(rig, asked(rig)[0])
    rig.wait(1.99, alive=OTHERS)
    assert not asked(rig)
    rig.wait(0.02)
    assert asked(rig) == electors(rig)[1:2]


def test_back_off_doubles_with_jitter_to_a_second(rig: Rig) -> None:
    want(rig)
    gaps, last = list[float](), rig.now
    while rig.now - 100.0 < 8.0:
        rig.wait(0.001)
        if asked(rig):
            gaps.append(rig.now - last)
            last = rig.now
        if int(rig.now * 1000) % 1000 == 0:
            for name in OTHERS:
                rig.hear(name, wire.Heartbeat(profile(name), 1))
    assert gaps[0] < gaps[3] < gaps[6] <= 1.001
    assert max(gaps) <= 1.001


def test_hedges_come_out_of_a_budget() -> None:
    rig = Rig(Settings(hedge_burst=2.0, hedge_budget=0.1), Place(orbits=()))
    rig.begin()
    rig.meet(*OTHERS)
    names = [c for c in (f"c{i}" for i in range(200)) if "n1" not in electors(rig, c)][:5]
    rig.know(*(record(name) for name in names))
    for name in names:
        want(rig, name)
    rig.wait(0.0079)
    assert len(asked(rig)) == 2
    rig.wait(0.15)
    assert len(asked(rig)) >= 3  # the others are plain retries, later


def test_the_next_elector_at_once_when_one_becomes_suspect_or_loses_its_link(rig: Rig) -> None:
    want(rig)
    first, second, third = electors(rig)[:3]
    hear(rig, first)
    rig.tell(ev.LinkDown(f"{first}-id", "torn"))
    assert asked(rig) == [second]
    hear(rig, second)
    rig.tell(ev.Unreachable(THEIRS, f"{second}-id"))
    assert asked(rig) == [third]


def test_an_elector_that_restarted_is_not_waited_for(rig: Rig) -> None:
    want(rig)
    first, second = electors(rig)[:2]
    hear(rig, first)
    rig.meet(first, boot=2, incarnation=2)
    assert asked(rig) == [second]


def test_suspects_are_not_asked(rig: Rig) -> None:
    first, second = electors(rig)[:2]
    rig.lose(first)
    want(rig)
    assert electors(rig)[0] == first and asked(rig) == [second]


def test_after_a_whole_round_it_begins_again(rig: Rig) -> None:
    want(rig)
    order = asked(rig)
    while len(order) < 10:
        rig.wait(0.01)
        order += asked(rig)
    assert order[:5] == electors(rig) and order[5:10] == electors(rig)


def test_without_a_link_to_any_elector_it_waits_for_one(rig: Rig) -> None:
    for name in OTHERS:
        rig.tell(ev.LinkDown(f"{name}-id", "cut"))
    want(rig)
    assert not asked(rig)
    second = electors(rig)[1]
    rig.meet(second)
    assert asked(rig) == [second]


def test_an_answer_that_is_of_no_use_leads_to_the_next(rig: Rig) -> None:
    """That elector has not heard yet that the holder is suspect."""
    rig.tell(ev.Unreachable(THEIRS, "n5-id"))
    want(rig)
    first = asked(rig)[0]
    holders(rig, first, "n5")
    assert asked(rig) and asked(rig)[0] != first and not rig.did(ef.SetEndpoints)


def test_a_refusal_reaches_the_requests_with_its_reason(rig: Rig) -> None:
    want(rig)
    rig.hear(asked(rig)[0], wire.Refused(THEIRS, cause(rig), "n2: needs 64 GiB", 5))
    assert rig.did(ef.Refuse) == [ef.Refuse(THEIRS, 503, "n2: needs 64 GiB", 5)]
    assert rig.notes("request.refused")[0]["reason"] == "n2: needs 64 GiB"


def test_a_refusal_of_an_earlier_call_is_none(rig: Rig) -> None:
    want(rig)
    rig.hear(asked(rig)[0], wire.Refused(THEIRS, "another cause", "no", 1))
    assert not rig.effects


@pytest.mark.parametrize("seconds", [8.9, 9.1])
def test_no_answer_at_all_is_a_refusal_by_the_deadline(rig: Rig, seconds: float) -> None:
    want(rig)
    effects = rig.wait(seconds, alive=OTHERS)
    assert [e.status for e in effects if isinstance(e, ef.Refuse)] == ([503] if seconds > 9 else [])


def test_an_elector_without_the_record_is_given_it_and_asked_again(rig: Rig) -> None:
    want(rig)
    first = asked(rig)[0]
    rig.hear(first, wire.Unknown(THEIRS, cause(rig)))
    assert rig.sent(wire.Records, first) == [handed(signed(record(THEIRS)))] and asked(rig) == [first]
    rig.hear(first, wire.Unknown(THEIRS, cause(rig)))
    assert asked(rig) == electors(rig)[1:2]


# --- what is believed ---------------------------------------------------------------------------------------


def believe(rig: Rig, *holding: str, **fields: int) -> None:
    want(rig)
    holders(rig, asked(rig)[0], *holding, **fields)


def test_a_suspect_holder_is_no_endpoint_until_it_is_back(rig: Rig) -> None:
    believe(rig, "n3", "n5")
    rig.tell(ev.Unreachable(THEIRS, "n5-id"))
    assert endpoints(rig) == ["n3"]
    rig.hear("n5", wire.Heartbeat(profile("n5"), 1))
    assert endpoints(rig) == ["n3", "n5"]


def test_a_holder_without_a_link_is_no_endpoint_until_it_has_one(rig: Rig) -> None:
    believe(rig, "n3", "n5")
    rig.lose("n5", refused=False)
    assert endpoints(rig) == ["n3"]
    rig.meet("n5")
    assert endpoints(rig) == ["n3", "n5"]


def test_a_call_ends_when_a_holder_can_be_reached_again(rig: Rig) -> None:
    rig.lose("n5", refused=False)
    believe(rig, "n5")
    assert not rig.did(ef.SetEndpoints)
    rig.meet("n5")
    assert endpoints(rig) == ["n5"] and rig.node.sizes()["calls"][0] == 0


def test_a_refusal_at_the_deadline_names_the_holder_that_cannot_be_reached(rig: Rig) -> None:
    rig.lose("n5", refused=False)
    believe(rig, "n5")
    effects = rig.wait(9.1, alive=OTHERS)
    (refusal,) = [e for e in effects if isinstance(e, ef.Refuse)]
    assert "it runs at n5, which cannot be reached from here" in refusal.reason


def test_a_holder_whose_boot_ended_is_forgotten(rig: Rig) -> None:
    believe(rig, "n5")
    rig.meet("n5", boot=2, incarnation=2)
    assert not rig.node.election.calls._believed
    want(rig)
    assert asked(rig)


def test_not_here_is_believed_until_it_claims_anew(rig: Rig) -> None:
    believe(rig, "n5")
    rig.tell(ev.NotHere(THEIRS, "n5-id"))
    assert rig.did(ef.SetEndpoints) == [ef.SetEndpoints(THEIRS, ())]
    want(rig)
    first = asked(rig)[0]
    holders(rig, first, "n5")  # that elector has not heard of the end yet
    assert not rig.did(ef.SetEndpoints) and asked(rig) == electors(rig)[1:2]
    holders(rig, asked(rig)[0], "n5", sequence=2)
    assert endpoints(rig) == ["n5"]


def test_a_starting_copy_is_no_endpoint(rig: Rig) -> None:
    want(rig)
    holders(rig, asked(rig)[0], "n5", ready=False)
    assert not rig.did(ef.SetEndpoints)


def test_what_is_believed_is_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("falak.core.calls.BELIEVED_MAX", 2)
    assert BELIEVED_MAX > 2
    for i in range(4):
        rig.hear("n2", wire.Holders(f"x{i}", "late", (claim(f"x{i}", "n3"),)))
    assert list(rig.node.election.calls._believed) == ["x2", "x3"]
    assert ef.SetEndpoints("x1", ()) in rig.effects


def test_forgone_calls_end(rig: Rig) -> None:
    want(rig)
    rig.tell(ev.Forgone(THEIRS))
    assert rig.node.sizes()["calls"][0] == 0 and not [
        e for e in rig.wait(2.0, OTHERS) if isinstance(e, ef.Refuse)
    ]


def test_calls_at_once_are_bounded() -> None:
    rig = Rig(Settings(calls_max=1), Place(orbits=()))
    rig.begin()
    rig.meet("n2")
    rig.know(record("a"), record("b"))
    rig.tell(ev.Wanted("a"))
    rig.tell(ev.Wanted("b"))
    assert [r.status for r in rig.did(ef.Refuse)] == [503]


def test_before_it_joined_requests_wait() -> None:
    rig = Rig(place=Place(orbits=()))
    rig.begin(("/n2",), kept=(signed(record("a")), signed(record("b"))))
    for name in ("a", "a", "b"):
        rig.tell(ev.Wanted(name))
        assert not rig.effects
    rig.tell(ev.Forgone("b"))
    rig.meet("n2")
    rig.hear("n2", wire.Welcome((profile("n2"),)))
    assert [n["capsule"] for n in rig.notes("request.parked")] == ["a"]


def test_one_cause_from_the_request_to_the_answer(rig: Rig) -> None:
    want(rig)
    one = cause(rig)
    (called,) = rig.sent(wire.Call)
    assert called.cause == one
    holders(rig, asked(rig)[0], "n5")
    rig.tell(ev.Answered(THEIRS, 0.004, 0.005))
    (note,) = [e for e in rig.effects if isinstance(e, ef.Note)]
    assert note.cause == one and dict(note.fields) == {"capsule": THEIRS, "parked_ms": 4.0, "total_ms": 5.0}


@pytest.mark.parametrize("others", [0, 1, 2])
def test_calling_in_meshes_of_one_two_and_three(others: int) -> None:
    rig = Rig()
    rig.begin()
    rig.meet(*FIVE[1 : 1 + others])
    name = capsule_for(FIVE[: 1 + others], lambda e: e[0] == "n1")
    rig.know(record(name))
    rig.tell(ev.Wanted(name))
    assert not asked(rig)  # it is its own first elector
    looks = rig.receivers(wire.Look)
    assert sorted(looks) == list(FIVE[1 : 1 + others])


def test_an_elector_that_calls_hears_of_the_holder_itself() -> None:
    rig = Rig(place=Place(orbits=()))
    rig.begin()
    rig.meet("n2", "n3")
    name = capsule_for(FIVE[:3], lambda e: e[0] == "n2")
    rig.know(record(name))
    rig.tell(ev.Wanted(name))
    assert asked(rig) == ["n2"]
    rig.hear("n3", wire.Claimed(claim(name, "n3", ready=False), profile("n3").capacity))
    assert not rig.did(ef.SetEndpoints)
    rig.hear("n3", wire.Claimed(claim(name, "n3", sequence=2), profile("n3").capacity))
    assert endpoints(rig) == ["n3"] and rig.node.sizes()["calls"][0] == 0


def test_a_newer_copy_here_ends_what_was_believed_of_older_ones(rig: Rig) -> None:
    believe(rig, "n3")
    rig.know(record(THEIRS, 2))
    assert rig.node.election.calls.uses_older(THEIRS, 2)
    copy = rig.node.momentum.begin(record(THEIRS, 2), 0, "cause")
    rig.node.momentum.confirm(copy)
    rig.tell(ev.Started(copy.instance, 0.001))
    (told,) = [e for e in rig.did(ef.SetEndpoints) if e.capsule == THEIRS]
    assert [(e.instance, e.peer) for e in told.endpoints] == [(copy.instance, "")]
    assert not rig.node.election.calls.uses_older(THEIRS, 2)
