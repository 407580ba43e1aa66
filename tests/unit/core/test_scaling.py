"""Copies that no request waits for: one more, a newer one, and the least that must run."""

from itertools import pairwise

import pytest

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.model import Capacity, Scale
from falak.core.scaling import CROWDED_TRIES, WANTS_MAX
from falak.core.settings import Settings
from tests.unit.core.rig import Rig, capsule_for, claim, profile, record, signed

FIVE = ("n1", "n2", "n3", "n4", "n5")
WIDE = Scale(0, 3, 4)


def mesh(first: bool, **fields: object) -> tuple[Rig, str]:
    """A node of five which is the first elector of the capsule, or not; all know the capsule."""
    name = capsule_for(FIVE, lambda e: (e[0] == "n1") == first)
    rig = Rig()
    rig.begin()
    rig.meet("n2", "n3", "n4", "n5")
    rig.know(record(name, **fields))  # type: ignore[arg-type]
    return rig, name


def claimed(rig: Rig, name: str, holder: str, **fields: int | bool) -> None:
    what = claim(name, holder, **fields)
    rig.hear(holder, wire.Claimed(what, Capacity()))


def asked(rig: Rig) -> list[wire.Call]:
    return rig.sent(wire.Call)


def called(rig: Rig) -> list[int]:
    """Slots that the node convenes for, with what it asks the others first."""
    return sorted({m.slot for m in rig.sent(wire.Look)} | {m.slot for m in rig.sent(wire.Summon)})


# --- crowded ---------------------------------------------------------------------------------------------


def crowded_rig() -> tuple[Rig, str]:
    """Requests go from here to a copy at n2."""
    rig, name = mesh(first=False, scale=WIDE)
    rig.hear("n3", wire.Holders(name, "", (claim(name, "n2"),)))
    assert rig.did(ef.SetEndpoints)[0].concurrency == 4
    return rig, name


def test_one_more_than_is_known_is_asked_for_once() -> None:
    rig, name = crowded_rig()
    rig.tell(ev.Crowded(name))
    assert [(c.copies, c.generation) for c in asked(rig)] == [(1, 0)]
    assert rig.receivers(wire.Call) == [rig.node.orbits.electors_of(name)[0].removesuffix("-id")]
    assert rig.notes("election.wanted") == [{"capsule": name, "reason": "all 1 have enough to do"}]
    rig.tell(ev.Crowded(name))
    assert not asked(rig)


def test_an_answer_ends_it_and_the_next_word_begins_anew() -> None:
    rig, name = crowded_rig()
    rig.tell(ev.Crowded(name))
    (call,) = asked(rig)
    rig.hear("n3", wire.Holders(name, "another cause", ()))
    assert name in rig.node.election.scaling._wants
    rig.hear("n3", wire.Holders(name, call.cause, (claim(name, "n2"), claim(name, "n4", slot=1))))
    assert len(rig.did(ef.SetEndpoints)[0].endpoints) == 2 and not rig.node.election.scaling._wants
    rig.tell(ev.Crowded(name))
    assert [c.copies for c in asked(rig)] == [2]


def test_no_more_than_max_is_asked_for_and_nothing_of_what_does_not_scale() -> None:
    rig, name = mesh(first=False, scale=Scale(0, 1, 0))
    rig.hear("n3", wire.Holders(name, "", (claim(name, "n2"),)))
    assert rig.did(ef.SetEndpoints)[0].concurrency == 0
    rig.tell(ev.Crowded(name))
    rig.tell(ev.Crowded("nobody"))
    assert not asked(rig)
    rig, name = crowded_rig()
    rig.hear(
        "n3", wire.Holders(name, "", tuple(claim(name, n, slot=i) for i, n in enumerate(("n2", "n3", "n4"))))
    )
    rig.tell(ev.Crowded(name))
    assert not asked(rig)


def test_other_electors_are_asked_and_then_it_is_left_to_the_next_crowd() -> None:
    rig, name = crowded_rig()
    rig.tell(ev.Crowded(name))
    rig.wait(60.0, alive=FIVE[1:])
    assert len(set(rig.receivers(wire.Call))) == CROWDED_TRIES - 1 and not rig.node.election.scaling._wants


def test_wants_are_bounded() -> None:
    rig, name = crowded_rig()
    scaling = rig.node.election.scaling
    scaling._wants = {f"x{i}": scaling._wants for i in range(WANTS_MAX)}  # type: ignore[misc]
    rig.tell(ev.Crowded(name))
    assert not asked(rig) and rig.count("wants_full") == 1


def test_the_convener_gives_the_lowest_free_slot_once() -> None:
    rig, name = mesh(first=True, scale=Scale(0, 5, 4))
    claimed(rig, name, "n2")
    claimed(rig, name, "n3", slot=2)
    rig.hear("n4", wire.Call(name, "cause", Capacity(), 0, 2))
    assert called(rig) == [1]
    rig.hear("n5", wire.Call(name, "other", Capacity(), 0, 2))
    assert called(rig) == [] and rig.sent(wire.Heard, "n5"), "one is coming already"
    claimed(rig, name, "n4", slot=1, sequence=2)
    assert {len(m.claims) for m in rig.sent(wire.Holders)} == {3}


def test_who_knows_fewer_than_there_are_is_told_of_them() -> None:
    rig, name = mesh(first=True, scale=WIDE)
    claimed(rig, name, "n2")
    claimed(rig, name, "n3", slot=1)
    rig.hear("n4", wire.Call(name, "cause", Capacity(), 0, 1))
    assert called(rig) == [] and len(rig.sent(wire.Holders, "n4")[0].claims) == 2


def test_beyond_max_there_is_no_slot() -> None:
    rig, name = mesh(first=True, scale=Scale(0, 2, 4))
    claimed(rig, name, "n2")
    claimed(rig, name, "n3", slot=1)
    rig.hear("n4", wire.Call(name, "cause", Capacity(), 0, 2))
    assert called(rig) == [] and len(rig.sent(wire.Holders, "n4")[0].claims) == 2


def test_a_node_that_holds_a_slot_is_called_last() -> None:
    rig, name = mesh(first=True, scale=WIDE)
    claimed(rig, name, "n2")
    rig.hear("n4", wire.Call(name, "cause", Capacity(), 0, 1))
    rig.wait(0.05)
    assert rig.sent(wire.Summon) and "n2" not in rig.receivers(wire.Summon)


def test_that_one_more_cannot_run_refuses_nobody() -> None:
    rig, name = mesh(first=True, scale=WIDE)
    claimed(rig, name, "n2", ready=False)
    rig.hear("n3", wire.Call(name, "waits", Capacity()))
    rig.hear("n4", wire.Call(name, "more", Capacity(), 0, 1))
    ballot = rig.node.election.convening._open[(name, 1)]
    rig.node.turn.now, rig.node.turn.effects = rig.now, []
    rig.node.election.convening._refuse(ballot, {"n3-id": "no room"})
    assert not [
        e for e in rig.node.turn.effects if isinstance(e, ef.Send) and isinstance(e.message, wire.Refused)
    ]


# --- newer -----------------------------------------------------------------------------------------------


def test_who_uses_an_older_copy_asks_for_a_newer_until_one_answers() -> None:
    rig, name = mesh(first=False)
    rig.hear("n3", wire.Holders(name, "", (claim(name, "n2"),)))
    rig.hear("n2", wire.Announce(signed(record(name, 2))))
    (call,) = asked(rig)
    assert (call.generation, call.copies) == (2, 0) and not rig.did(ef.SetEndpoints), "the older one serves on"
    rig.hear("n3", wire.Refused(name, call.cause, "no room", 1))
    assert rig.notes("capsule.not_replaced") == [{"capsule": name, "generation": 2, "reason": "no room"}]
    rig.hear("n3", wire.Holders(name, call.cause, (claim(name, "n2"),)))
    rig.wait(0.3)
    assert [c.generation for c in asked(rig)] == [2], "that is none"
    rig.hear("n3", wire.Holders(name, call.cause, (claim(name, "n4", generation=2),)))
    (to,) = rig.did(ef.SetEndpoints)[0].endpoints
    assert to.peer == "n4-id", "nothing goes to the older one any more"
    rig.wait(20.0, alive=FIVE[1:])
    assert not asked(rig)


def test_an_elector_without_the_record_gets_it() -> None:
    rig, name = mesh(first=False)
    rig.hear("n3", wire.Holders(name, "", (claim(name, "n2"),)))
    rig.hear("n2", wire.Announce(signed(record(name, 2))))
    (call,) = asked(rig)
    rig.hear("n3", wire.Unknown(name, call.cause))
    assert rig.sent(wire.Records, "n3")
    assert rig.sent(wire.Call, "n3")


def test_an_elector_with_an_older_record_says_so() -> None:
    rig, name = mesh(first=True)
    rig.hear("n4", wire.Call(name, "cause", Capacity(), 2))
    assert rig.sent(wire.Unknown, "n4") and not called(rig)


def test_who_waits_is_given_the_older_copy_meanwhile() -> None:
    rig, name = mesh(first=True)
    claimed(rig, name, "n2")
    rig.hear("n2", wire.Announce(signed(record(name, 2))))
    rig.hear("n4", wire.Call(name, "any", Capacity()))
    assert rig.sent(wire.Holders, "n4") == [wire.Holders(name, "any", (claim(name, "n2"),))]
    rig.hear("n5", wire.Call(name, "newer", Capacity(), 2))
    assert rig.sent(wire.Heard, "n5") and called(rig) == [0]


def replacing() -> Rig:
    """A mesh of one that runs generation 1 as copy 1 and starts generation 2 as copy 2."""
    rig = Rig()
    rig.begin()
    rig.hear("n2", wire.Announce(signed(record("c"))))
    rig.tell(ev.Wanted("c"))
    rig.tell(ev.Started(1, 0.001))
    rig.hear("n2", wire.Announce(signed(record("c", 2))))
    return rig


def test_the_older_copy_here_drains_when_the_newer_here_answers() -> None:
    rig = replacing()
    assert [s.instance for s in rig.did(ef.Start)] == [2] and not rig.did(ef.Stop)
    assert len(rig.node.momentum.serving("c")) == 1
    rig.tell(ev.Started(2, 0.001))
    assert [e.instance for e in rig.did(ef.SetEndpoints)[-1].endpoints] == [2]
    assert rig.did(ef.Stop) == [ef.Stop(1, "generation 2 replaced it")]
    assert [c.generation for c in rig.node.claims.own()] == [2]


def test_a_newer_one_that_cannot_start_leaves_the_older_its_claim() -> None:
    rig = replacing()
    rig.tell(ev.StartFailed(2, "bad", True))
    assert [(c.generation, c.ready) for c in rig.node.claims.own()] == [(1, True)]
    assert [c.instance for c in rig.node.momentum.serving("c")] == [1] and not rig.did(ef.Refuse)


def test_an_older_one_that_dies_does_not_end_the_newer_ones_claim() -> None:
    rig = replacing()
    rig.tell(ev.Ended(1, "killed by signal 9"))
    assert [c.generation for c in rig.node.claims.own()] == [2] and not rig.did(ef.Start)
    rig.tell(ev.StartFailed(2, "out of ports", False))
    assert 1 not in [c.generation for c in rig.node.claims.own()], "there is no older one to go back to"


# --- the least that must run -----------------------------------------------------------------------------

MUST = Scale(2, 2)


def test_the_first_elector_calls_for_what_must_run_once_the_others_have_the_record() -> None:
    rig, _ = mesh(first=True, scale=MUST)
    assert not called(rig)
    rig.wait(Settings().scale_first_s + 1 / Settings().herd_per_s + 0.01)
    assert called(rig) == [0, 1]
    reasons = [note["reason"] for note in rig.notes("election.wanted")]
    assert reasons == ["slot 0 must run", "slot 1 must run"]


def test_nobody_else_does() -> None:
    rig, _ = mesh(first=False, scale=MUST)
    rig.wait(5.0, alive=FIVE[1:])
    assert not called(rig)


def test_a_holder_that_is_gone_is_followed_at_once() -> None:
    rig, name = mesh(first=True, scale=MUST)
    claimed(rig, name, "n2")
    claimed(rig, name, "n3", slot=1)
    rig.wait(5.0, alive=FIVE[1:])
    assert not called(rig)
    rig.tell(ev.Unreachable(name, "n3-id"))
    assert called(rig) == [1]


def test_the_next_elector_sees_to_it_where_the_first_is_gone() -> None:
    name = capsule_for(FIVE, lambda e: e[:2] == ["n2", "n1"])
    rig = Rig()
    rig.begin()
    rig.meet("n2", "n3", "n4", "n5")
    rig.know(record(name, scale=Scale(1)))
    claimed(rig, name, "n2")
    rig.wait(1.0)
    rig.tell(ev.Unreachable(name, "n2-id"))
    assert called(rig) == [0]


def test_a_capsule_that_cannot_stand_is_called_for_ever_more_rarely() -> None:
    rig, name = mesh(first=True, scale=Scale(1))
    wanted, sequence = [], 0
    for second in range(100):
        rig.wait(0.5)
        for other in FIVE[1:]:
            rig.hear(other, wire.Heartbeat(profile(other), 1))
        if rig.node.election.convening.fills((name, 0)):
            wanted.append(second)
            sequence += 2
            claimed(rig, name, "n2", sequence=sequence)
            rig.hear("n2", wire.Released(claim(name, "n2", sequence=sequence + 1, ready=False), "it died"))
    gaps = [b - a for a, b in pairwise(wanted)]
    assert len(wanted) >= 5 and sorted(gaps) == gaps and gaps[-1] >= 20, gaps


def test_one_that_was_called_for_and_not_decided_is_looked_at_again() -> None:
    rig, name = mesh(first=True, scale=Scale(1))
    rig.wait(2.5)
    assert rig.node.election.convening.fills((name, 0))
    rig.node.election.convening._close(rig.node.election.convening._open[(name, 0)])
    rig.wait(3.0, alive=FIVE[1:])
    assert rig.node.election.convening.fills((name, 0))


def test_a_herd_is_called_for_at_its_rate_those_with_most_callers_first() -> None:
    rig = Rig(Settings(herd_per_s=10.0))
    rig.begin()
    names = [f"c{i}" for i in range(30)]
    rig.meet("n2")
    ours = [n for n in names if rig.node.orbits.electors_of(n)[0] == "n1-id"]
    rig.know(*(record(n, scale=Scale(1)) for n in names))
    rig.hear("n2", wire.Call(ours[-1], "cause", Capacity()))
    rig.node.election.convening.callers.add(ours[-2], "n2-id", "cause")
    told: list[str] = []
    rig.wait(0.1)
    told += [str(n["capsule"]) for n in rig.notes("election.wanted")]
    assert len(told) <= 2 and told[0] in (ours[-2], ours[0])
    rig.wait(0.5)
    told += [str(n["capsule"]) for n in rig.notes("election.wanted")]
    assert 4 <= len(told) <= 8


def test_none_is_called_for_while_the_cell_preserves_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    rig, _ = mesh(first=True, scale=Scale(1))
    monkeypatch.setattr(rig.node.members, "preserving", lambda: True)
    rig.wait(3.0)
    assert not called(rig) and rig.count("slots_left_alone") >= 2
    monkeypatch.setattr(rig.node.members, "preserving", lambda: False)
    rig.wait(2.0)
    assert called(rig) == [0], "it is looked at again"


def test_a_record_that_does_not_say_so_any_more_is_forgotten() -> None:
    rig, name = mesh(first=True, scale=Scale(1))
    rig.hear("n2", wire.Announce(signed(record(name, 2))))
    rig.wait(5.0, alive=FIVE[1:])
    assert not called(rig) and rig.node.election.scaling.sizes()["capsules that must run"][0] == 0
