"""What speaks against a member: silence asked about, accusations weighed, refutations heard, drops timed."""

import pytest

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.model import ALIVE, DROPPED, SUSPECT
from falak.core.suspicion import (
    ACCUSERS_MAX,
    ASK_AGAIN_S,
    DOUBT_S,
    PROBE_S,
    PROBES_MAX,
    drop_after_s,
    quorum_of,
)
from tests.unit.core.rig import Rig, profile


def rig_of(count: int) -> Rig:
    """A node n1 that met n2 to n``count``."""
    rig = Rig()
    rig.begin()
    rig.meet(*(f"n{i}" for i in range(2, count + 1)))
    return rig


def state(rig: Rig, name: str) -> str:
    return rig.node.members.members[f"{name}-id"].state


def accuse(rig: Rig, by: str, name: str, kind: str = "silent", boot: int = 1, incarnation: int = 1) -> None:
    rig.hear(by, wire.Accused(f"{name}-id", boot, incarnation, kind))  # type: ignore[arg-type]


def fall_silent(rig: Rig, name: str) -> list[str]:
    """Native hears no beats of it; the names of those that are asked."""
    rig.tell(ev.PeerSilent(f"{name}-id", 1.0))
    return rig.receivers(wire.Probe)


def answer_all(rig: Rig, helpers: list[str], name: str, heard: bool) -> None:
    for helper in helpers:
        rig.hear(helper, wire.Probed(f"{name}-id", heard))


def accusations(effects: list[ef.Effect]) -> list[wire.Accused]:
    return [e.message for e in effects if isinstance(e, ef.Gossip) and isinstance(e.message, wire.Accused)]


# --- silence ------------------------------------------------------------------------------------------------


def test_silence_is_asked_for_through_two_others_and_told_when_neither_hears() -> None:
    rig = rig_of(6)
    helpers = fall_silent(rig, "n2")
    assert len(helpers) == 2 and "n2" not in helpers
    assert state(rig, "n2") == ALIVE and not rig.node.members.reachable("n2-id")
    rig.hear(helpers[0], wire.Probed("n2-id", False))
    assert state(rig, "n2") == ALIVE
    rig.hear(helpers[1], wire.Probed("n2-id", False))
    assert state(rig, "n2") == SUSPECT and not rig.node.members.usable("n2-id")
    assert accusations(rig.effects) == [wire.Accused("n2-id", 1, 1, "silent")]
    (note,) = rig.notes("node.suspect")
    assert note["accusers"] == ("n1",) and str(note["evidence"]).startswith("silent, and ")


def test_helpers_that_say_nothing_are_waited_for_no_longer_than_the_deadline() -> None:
    rig = rig_of(6)
    fall_silent(rig, "n2")
    rig.wait(PROBE_S - 0.01)
    assert state(rig, "n2") == ALIVE
    rig.wait(0.02)
    assert state(rig, "n2") == SUSPECT


def test_one_that_others_hear_is_unreachable_from_here_and_not_suspect() -> None:
    rig = rig_of(6)
    helpers = fall_silent(rig, "n2")
    rig.hear(helpers[0], wire.Probed("n2-id", True))
    rig.wait(PROBE_S + 0.1)
    assert state(rig, "n2") == ALIVE and rig.node.members.usable("n2-id")
    assert not rig.node.members.reachable("n2-id")
    effects = rig.wait(ASK_AGAIN_S, alive=("n2", "n3"))
    assert [e for e in effects if isinstance(e, ef.Send) and isinstance(e.message, wire.Probe)]
    rig.tell(ev.PeerBack("n2-id"))
    assert rig.node.members.reachable("n2-id")


def test_silence_that_ends_while_it_is_asked_about_is_forgotten() -> None:
    rig = rig_of(6)
    fall_silent(rig, "n2")
    rig.tell(ev.PeerBack("n2-id"))
    rig.wait(PROBE_S + 0.1)
    assert state(rig, "n2") == ALIVE and rig.node.members.reachable("n2-id")


def test_without_others_silence_suspends_and_drops_after_ten_seconds() -> None:
    rig = rig_of(2)
    assert fall_silent(rig, "n2") == [] and state(rig, "n2") == SUSPECT
    for _ in range(5):
        rig.now += 1.9
        rig.node.members.members["n2-id"].heard_at = rig.now
        rig.node.turn.timers.cancel(("member", "ttl", "n2-id"))
        rig.tell(ev.Tick())
    assert state(rig, "n2") == SUSPECT
    rig.wait(0.6)
    assert state(rig, "n2") == DROPPED


def test_a_lost_link_that_is_not_back_within_its_time_is_a_silence() -> None:
    rig = rig_of(6)
    rig.lose("n2", refused=False)
    assert not rig.receivers(wire.Probe)
    rig.wait(1.3)
    helpers = rig.receivers(wire.Probe)
    answer_all(rig, helpers, "n2", False)
    assert len(helpers) == 2 and state(rig, "n2") == SUSPECT
    assert "its link is gone, and " in str(rig.notes("node.suspect")[0]["evidence"])


def test_a_refusal_suspends_at_once_and_is_taken_back_when_another_hears_it() -> None:
    rig = rig_of(6)
    rig.lose("n2")
    helpers = rig.receivers(wire.Probe)
    assert state(rig, "n2") == SUSPECT and len(helpers) == 2
    rig.hear(helpers[0], wire.Probed("n2-id", True))
    assert state(rig, "n2") == ALIVE
    assert rig.notes("node.back") == [{"node": "n2", "evidence": f"{helpers[0]} hears it"}]
    rig.wait(0.2)
    rig.tell(ev.DialFailed("n2-id", "/n2", True, "refused"))
    assert state(rig, "n2") == ALIVE  # the next refusal is asked about before it counts


def test_answers_nobody_asked_for_are_counted() -> None:
    rig = rig_of(6)
    helpers = fall_silent(rig, "n2")
    other = next(f"n{i}" for i in range(3, 7) if f"n{i}" not in helpers)
    rig.hear(other, wire.Probed("n2-id", True))
    rig.hear(other, wire.Probed("n5-id", False))
    assert rig.count("probed_odd") == 2 and state(rig, "n2") == ALIVE


# --- questions of others ------------------------------------------------------------------------------------


def test_a_probe_is_answered_by_what_the_subject_says_now() -> None:
    rig = rig_of(4)
    rig.hear("n2", wire.Probe("n3-id"))
    assert rig.receivers(wire.Ping) == ["n3"] and not rig.sent(wire.Probed)
    rig.hear("n3", wire.Pong(round(rig.now * 1e6)))
    assert rig.sent(wire.Probed, "n2") == [wire.Probed("n3-id", True)]


def test_a_probe_of_one_that_does_not_answer_or_has_no_link_is_denied() -> None:
    rig = rig_of(4)
    rig.hear("n2", wire.Probe("n3-id"))
    effects = rig.wait(0.45)
    assert ef.Send("n2-id", wire.Probed("n3-id", False)) in effects
    rig.hear("n2", wire.Probe("n4-id"))
    rig.tell(ev.LinkDown("n4-id", "closed"))
    assert rig.sent(wire.Probed, "n2") == [wire.Probed("n4-id", False)]
    rig.hear("n2", wire.Probe("n9-id"))
    assert rig.sent(wire.Probed, "n2") == [wire.Probed("n9-id", False)]
    rig.hear("n2", wire.Probe("n1-id"))
    assert rig.sent(wire.Probed, "n2") == [wire.Probed("n1-id", True)]


def test_probes_are_bounded_and_strangers_get_no_answer() -> None:
    rig = rig_of(3)
    rig.hear("stranger", wire.Probe("n3-id"))
    assert rig.count("probe_of_stranger") == 1 and not rig.effects
    suspicion = rig.node.members.suspicion
    suspicion._probes = {("x", str(i)): None for i in range(PROBES_MAX)}
    rig.hear("n2", wire.Probe("n3-id"))
    assert rig.count("probes_beyond_limit") == 1 and not rig.sent(wire.Ping)


# --- accusations --------------------------------------------------------------------------------------------


def test_two_watchers_suspend_elsewhere_and_one_does_not() -> None:
    rig = rig_of(5)
    accuse(rig, "n3", "n2")
    assert state(rig, "n2") == ALIVE and rig.node.members.usable("n2-id")
    accuse(rig, "n3", "n2")  # the same again is no second report
    assert state(rig, "n2") == ALIVE
    accuse(rig, "n4", "n2", "closed")
    assert state(rig, "n2") == SUSPECT
    text = "closed and silent, its watchers say"
    assert rig.notes("node.suspect") == [{"node": "n2", "evidence": text, "accusers": ("n3", "n4")}]
    assert rig.receivers(wire.Ping) == ["n2"] and not accusations(rig.effects)


def test_one_watcher_is_enough_in_a_cell_of_three() -> None:
    rig = rig_of(3)
    accuse(rig, "n3", "n2")
    assert state(rig, "n2") == SUSPECT


def test_who_answers_for_itself_is_suspect_no_longer_and_not_at_once_again() -> None:
    rig = rig_of(5)
    accuse(rig, "n3", "n2")
    accuse(rig, "n4", "n2")
    rig.hear("n2", wire.Pong(round(rig.now * 1e6)))
    assert state(rig, "n2") == ALIVE and rig.notes("node.back") == [{"node": "n2", "evidence": "it answers"}]
    accuse(rig, "n3", "n2")
    accuse(rig, "n4", "n2")
    assert state(rig, "n2") == ALIVE and rig.count("accusation_answered") == 2
    rig.wait(2.1, alive=("n2", "n3", "n4", "n5"))
    accuse(rig, "n3", "n2")
    accuse(rig, "n4", "n2")
    assert state(rig, "n2") == SUSPECT


@pytest.mark.parametrize(("boot", "incarnation"), [(1, 2), (1, 0), (2, 1)])
def test_accusations_of_another_incarnation_are_ignored_and_counted(boot: int, incarnation: int) -> None:
    rig = rig_of(5)
    for accuser in ("n3", "n4", "n5"):
        accuse(rig, accuser, "n2", boot=boot, incarnation=incarnation)
    assert state(rig, "n2") == ALIVE and rig.count("accusation_outdated") == 3


def test_only_watchers_on_the_ring_are_believed() -> None:
    rig = rig_of(12)
    watchers = [w.removesuffix("-id") for w in rig.node.members.suspicion.watchers_of("n2-id")]
    others = [f"n{i}" for i in range(3, 13) if f"n{i}" not in watchers]
    assert len(watchers) == 6 and len(others) >= 4
    for other in others:
        accuse(rig, other, "n2", "closed")
    assert state(rig, "n2") == ALIVE and rig.count("accusation_by_no_watcher") == len(others)
    accuse(rig, "stranger", "n2")
    assert rig.count("accusation_of_stranger") == 1


def test_a_hostile_neighbour_that_accuses_everyone_suspends_and_drops_nobody() -> None:
    rig = rig_of(12)
    everyone = [f"n{i}" for i in range(2, 12)]
    for _ in range(20):
        for name in everyone:
            for kind in ("closed", "silent"):
                accuse(rig, "n12", name, kind)
        rig.wait(1.5, alive=(*everyone, "n12"))
    assert {state(rig, name) for name in everyone} == {ALIVE}
    assert max(size for size, _ in [rig.node.sizes()["accusers of one member"]]) <= 1


def test_accusers_of_one_member_are_bounded() -> None:
    rig = rig_of(6)
    accuse(rig, "n3", "n2")
    case = rig.node.members.suspicion._cases["n2-id"]
    case.accusers.update({f"x{i}": "silent" for i in range(ACCUSERS_MAX - 1)})
    accuse(rig, "n4", "n2")
    assert len(case.accusers) == ACCUSERS_MAX and "n4-id" not in case.accusers


def test_a_dead_accuser_is_not_believed() -> None:
    rig = rig_of(6)
    rig.lose("n3")
    accuse(rig, "n3", "n2")
    assert rig.count("accusation_of_stranger") == 1


def test_an_accusation_is_repeated_until_the_subject_is_heard() -> None:
    rig = rig_of(6)
    answer_all(rig, fall_silent(rig, "n2"), "n2", False)
    assert len(accusations(rig.wait(2.5, alive=("n3", "n4")))) == 2
    rig.hear("n2", wire.Hello(profile("n2", incarnation=2)))
    assert rig.notes("node.back") == [{"node": "n2", "evidence": "it refutes, in incarnation 2"}]
    assert not accusations(rig.wait(2.5, alive=("n2", "n3", "n4")))


# --- refutation ---------------------------------------------------------------------------------------------


def heartbeats(effects: list[ef.Effect]) -> list[wire.Heartbeat]:
    return [e.message for e in effects if isinstance(e, ef.Gossip) and isinstance(e.message, wire.Heartbeat)]


def test_the_accused_answers_at_once_in_a_higher_incarnation_that_is_on_disk() -> None:
    rig = rig_of(5)
    accuse(rig, "n2", "n1")
    (said,) = heartbeats(rig.effects)
    assert said.profile.incarnation == 2 and ef.Persist("incarnation", b"2") in rig.effects
    assert rig.notes("node.refute") == [{"accuser": "n2", "evidence": "silent"}]
    accuse(rig, "n3", "n1")  # of the incarnation that is refuted
    assert not heartbeats(rig.effects) and rig.count("accusation_outdated") == 1


def test_refuting_costs_one_urgent_heartbeat_in_two_seconds_whoever_accuses_how_often() -> None:
    rig = rig_of(5)
    began, incarnation = rig.now, rig.node.members.incarnation
    while rig.now - began < 10.0:
        for accuser in ("n2", "n3", "n4"):
            accuse(rig, accuser, "n1", incarnation=rig.node.members.incarnation)
        rig.wait(0.1)
    assert rig.node.members.incarnation - incarnation <= 6


def test_an_accusation_by_a_stranger_is_not_answered() -> None:
    rig = rig_of(5)
    accuse(rig, "stranger", "n1")
    assert rig.count("accusation_of_stranger") == 1 and rig.node.members.incarnation == 1


def test_last_words_are_no_sign_of_life_and_later_ones_are() -> None:
    rig = rig_of(5)
    rig.lose("n2")
    rig.hear("n2", wire.Heartbeat(profile("n2"), 7))
    assert state(rig, "n2") == SUSPECT and rig.count("heartbeat_late") == 1
    rig.wait(0.6, alive=())
    rig.hear("n2", wire.Heartbeat(profile("n2"), 8))
    assert state(rig, "n2") == ALIVE
    assert rig.notes("node.back") == [{"node": "n2", "evidence": "it is heard again"}]


# --- drops --------------------------------------------------------------------------------------------------


def test_the_quorum_is_three_watchers_or_a_majority_of_fewer() -> None:
    assert [quorum_of(n) for n in range(1, 8)] == [1, 2, 2, 3, 3, 3, 3]


def test_independent_reports_shorten_the_time() -> None:
    assert drop_after_s(10, 4, 1, 3) == 10 and drop_after_s(10, 4, 3, 3) == 4 == drop_after_s(10, 4, 6, 3)
    assert 6 < drop_after_s(10, 4, 2, 3) < 6.5
    assert drop_after_s(10, 4, 1, 1) == 10


def test_silence_with_three_reports_drops_after_four_seconds() -> None:
    rig = rig_of(8)
    answer_all(rig, fall_silent(rig, "n2"), "n2", False)
    near = [w.removesuffix("-id") for w in rig.node.members.suspicion.watchers_of("n2-id")]
    for accuser in [w for w in near if w != "n1"][:2]:
        accuse(rig, accuser, "n2")
    rig.wait(3.95)
    assert state(rig, "n2") == SUSPECT
    rig.wait(0.1)
    assert state(rig, "n2") == DROPPED and len(list(rig.notes("node.drop")[0]["accusers"])) == 3  # type: ignore


def test_refused_with_three_reports_drops_after_half_a_second() -> None:
    rig = rig_of(8)
    rig.lose("n2")
    near = [w.removesuffix("-id") for w in rig.node.members.suspicion.watchers_of("n2-id")]
    for accuser in [w for w in near if w != "n1"][:2]:
        accuse(rig, accuser, "n2", "closed")
    rig.wait(0.45)
    assert state(rig, "n2") == SUSPECT
    rig.wait(0.1)
    assert state(rig, "n2") == DROPPED


def test_a_dropped_node_with_an_open_link_is_watched_no_more_and_welcome_back() -> None:
    rig = rig_of(2)
    fall_silent(rig, "n2")
    rig.wait(10.1)
    assert state(rig, "n2") == DROPPED and ef.Beat("n2-id", False) in rig.effects
    rig.hear("n2", wire.Heartbeat(profile("n2", incarnation=2), 9))
    assert state(rig, "n2") == ALIVE and rig.did(ef.Beat) == [ef.Beat("n2-id", True)]


# --- this node's own health ---------------------------------------------------------------------------------


def test_a_node_that_stalled_takes_its_silences_back_and_asks_again_after_a_moment() -> None:
    rig = rig_of(6)
    answer_all(rig, fall_silent(rig, "n2"), "n2", False)
    fall_silent(rig, "n3")
    rig.tell(ev.Stalled(0.8))
    assert state(rig, "n2") == ALIVE and rig.node.members.suspicion.doubts_itself()
    assert rig.notes("node.doubt") == [{"reason": "its loop stood still for 0.8 s"}]
    effects = rig.wait(DOUBT_S - 0.1, alive=("n2", "n3"))
    assert not [e for e in effects if isinstance(e, ef.Send) and isinstance(e.message, wire.Probe)]
    assert state(rig, "n3") == ALIVE and not fall_silent(rig, "n4")
    effects = rig.wait(0.2)
    asked = [e.message.subject for e in effects if isinstance(e, ef.Send) and isinstance(e.message, wire.Probe)]
    assert set(asked) == {"n2-id", "n3-id", "n4-id"}


def test_a_short_stall_is_none() -> None:
    rig = rig_of(6)
    rig.tell(ev.Stalled(0.4))
    assert not rig.node.members.suspicion.doubts_itself()


def test_a_node_that_slept_past_every_ttl_drops_nobody() -> None:
    rig = rig_of(6)
    rig.now += 60.0
    rig.tell(ev.Stalled(60.0))
    assert {state(rig, f"n{i}") for i in range(2, 7)} == {ALIVE}
    rig.wait(5.0)
    assert {state(rig, f"n{i}") for i in range(2, 7)} == {ALIVE}
    rig.wait(4.0)
    assert {state(rig, f"n{i}") for i in range(2, 7)} == {DROPPED}


def test_a_refusal_stands_though_the_node_doubts_itself() -> None:
    rig = rig_of(6)
    rig.lose("n2")
    rig.tell(ev.Stalled(0.8))
    assert state(rig, "n2") == SUSPECT
    rig.wait(0.9)
    assert state(rig, "n2") == SUSPECT  # its time begins anew: the refutation may be what came meanwhile
    rig.wait(0.2)
    assert state(rig, "n2") == DROPPED


def test_a_node_that_hears_nobody_doubts_itself_for_a_moment() -> None:
    rig = rig_of(4)
    for name in ("n2", "n3", "n4"):
        fall_silent(rig, name)
    assert {state(rig, n) for n in ("n2", "n3", "n4")} == {ALIVE}
    assert rig.notes("node.doubt") == [{"reason": "it hears nobody"}]
    rig.wait(DOUBT_S - 0.1)
    assert {state(rig, n) for n in ("n2", "n3", "n4")} == {ALIVE}
    rig.wait(0.2)
    assert {state(rig, n) for n in ("n2", "n3", "n4")} == {SUSPECT}  # nobody to ask


def test_who_doubts_itself_denies_nobody() -> None:
    rig = rig_of(6)
    rig.tell(ev.Stalled(0.8))
    rig.hear("n2", wire.Probe("n3-id"))
    assert not [e for e in rig.wait(1.0) if isinstance(e, ef.Send) and isinstance(e.message, wire.Probed)]


# --- the ring -----------------------------------------------------------------------------------------------


def test_suspects_are_skipped_on_the_ring_and_still_listened_to() -> None:
    rig = rig_of(12)
    beating = {p for p, m in rig.node.members.members.items() if m.beating}
    assert len(beating) == 6
    victim = sorted(beating)[0]
    answer_all(rig, fall_silent(rig, victim.removesuffix("-id")), victim.removesuffix("-id"), False)
    now = {p for p, m in rig.node.members.members.items() if m.beating}
    assert beating < now and len(now) == 7


def test_who_was_not_met_is_not_watched() -> None:
    rig = rig_of(3)
    rig.link("n9")
    rig.hear("n9", wire.Heartbeat(profile("n9"), 1))
    assert ef.Beat("n9-id", True) not in rig.effects
    rig.hear("n9", wire.Hello(profile("n9")))
    assert ef.Beat("n9-id", True) in rig.effects
