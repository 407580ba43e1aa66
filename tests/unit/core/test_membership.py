"""Members from heard of to dropped: links, heartbeats, evidence, suspension, and what is said to the driver."""

import pytest

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.membership import KNOWN_MAX
from falak.core.model import ALIVE, DROPPED, LEFT, SUSPECT, Capacity
from falak.core.settings import CELL_MAX, Settings
from tests.unit.core.rig import GIB, Rig, claim, profile


def state(rig: Rig, name: str) -> str:
    return rig.node.members.members[f"{name}-id"].state


def beat(rig: Rig, name: str, sequence: int = 1, **fields: object) -> list[ef.Effect]:
    return rig.hear(name, wire.Heartbeat(profile(name, **fields), sequence))  # type: ignore[arg-type]


def test_a_node_alone_is_its_own_mesh() -> None:
    rig = Rig()
    rig.begin()
    assert rig.node.members.present() == ("n1-id",) and rig.node.members.joined


def test_hellos_make_members(rig: Rig) -> None:
    assert rig.node.members.present() == ("n1-id", "n2-id", "n3-id")
    assert (
        state(rig, "n2") == ALIVE and rig.node.members.usable("n2-id") and rig.node.members.reachable("n2-id")
    )
    assert (
        rig.node.members.name_of("n2-id") == "n2" and rig.node.members.name_of("stranger-id") == "stranger-id"
    )


def test_heartbeats_go_out_every_interval_with_jitter(rig: Rig) -> None:
    effects = rig.wait(20.0)
    said = [e.message for e in effects if isinstance(e, ef.Gossip) and isinstance(e.message, wire.Heartbeat)]
    assert 8 <= len(said) <= 13
    assert [s.sequence for s in said] == list(range(said[0].sequence, said[0].sequence + len(said)))


def test_a_closed_link_is_dialled_at_once_and_a_refusal_is_evidence(rig: Rig) -> None:
    rig.tell(ev.LinkDown("n2-id", "closed"))
    assert rig.did(ef.Dial) == [ef.Dial("n2-id", "/n2")]
    assert state(rig, "n2") == ALIVE and not rig.node.members.reachable("n2-id")
    rig.tell(ev.DialFailed("n2-id", "/n2", True, "refused"))
    assert state(rig, "n2") == SUSPECT and not rig.node.members.usable("n2-id")
    assert rig.notes("node.suspect") == [{"node": "n2", "evidence": "closed and refused", "accusers": ("n1",)}]
    assert "n2-id" in rig.node.members.present()  # re-election waits for evidence, node.drop for certainty
    rig.wait(0.99)
    assert state(rig, "n2") == SUSPECT
    rig.wait(0.02)
    assert state(rig, "n2") == DROPPED and "n2-id" not in rig.node.members.present()
    assert rig.notes("node.drop") == [{"node": "n2", "evidence": "closed and refused", "accusers": ("n1",)}]


def test_a_dial_that_times_out_is_no_evidence(rig: Rig) -> None:
    rig.lose("n2", refused=False)
    assert state(rig, "n2") == ALIVE and rig.node.members.usable("n2-id")
    assert not rig.node.members.reachable("n2-id")


def test_another_identity_at_its_address_is_evidence(rig: Rig) -> None:
    rig.tell(ev.LinkDown("n2-id", "closed"))
    rig.tell(ev.DialFailed("n2-id", "/n2", False, "n9-id answers there", "n9-id"))
    text = "closed, and another node answers at its address"
    evidence = [{"node": "n2", "evidence": text, "accusers": ("n1",)}]
    assert state(rig, "n2") == SUSPECT and rig.notes("node.suspect") == evidence
    rig.wait(1.01)
    assert state(rig, "n2") == DROPPED and rig.notes("node.drop") == evidence


def test_refused_at_one_address_and_another_identity_at_the_other(rig: Rig) -> None:
    rig.meet("n4", addresses=("/a", "/b"))
    rig.tell(ev.LinkDown("n4-id", "closed"))
    rig.tell(ev.DialFailed("n4-id", "/a", False, "n9-id answers there", "n9-id"))
    assert state(rig, "n4") == ALIVE
    rig.tell(ev.DialFailed("n4-id", "/b", True, "refused"))
    assert state(rig, "n4") == SUSPECT


def test_a_refusal_at_one_of_two_addresses_is_none(rig: Rig) -> None:
    rig.meet("n4", addresses=("/a", "/b"))
    rig.tell(ev.LinkDown("n4-id", "closed"))
    assert rig.did(ef.Dial) == [ef.Dial("n4-id", "/a")]
    rig.tell(ev.DialFailed("n4-id", "/a", True, "refused"))
    assert rig.did(ef.Dial) == [ef.Dial("n4-id", "/b")] and state(rig, "n4") == ALIVE
    rig.tell(ev.DialFailed("n4-id", "/b", True, "refused"))
    assert state(rig, "n4") == SUSPECT


def test_who_was_only_heard_of_is_not_accused() -> None:
    rig = Rig()
    rig.begin()
    rig.hear("n2", wire.Introduced(profile("n9")))
    rig.wait(1.0)
    assert rig.did(ef.Dial) == [ef.Dial("n9-id", "/n9")]
    rig.tell(ev.DialFailed("n9-id", "/n9", True, "refused"))
    assert state(rig, "n9") == "" and rig.node.members.present() == ("n1-id",)


def test_a_lost_member_is_dialled_again_with_back_off_and_jitter(rig: Rig) -> None:
    rig.lose("n2", refused=False)
    waits = []
    for _ in range(12):
        began = rig.now
        while not rig.did(ef.Dial):
            rig.wait(0.01)
        waits.append(rig.now - began)
        rig.tell(ev.DialFailed("n2-id", "/n2", False, "timed out"))
        rig.effects = []
    assert waits[0] < 0.2 and waits[5] > 1.0 and max(waits) <= 15.0 * 1.25 + 0.02
    assert len({round(w, 2) for w in waits[-3:]}) > 1


def test_a_dial_of_which_nothing_is_heard_is_tried_again(rig: Rig) -> None:
    rig.tell(ev.LinkDown("n2-id", "closed"))
    assert any(isinstance(e, ef.Dial) for e in rig.wait(10.5))


def test_an_answer_cures_suspicion(rig: Rig) -> None:
    rig.lose("n2")
    rig.meet("n2")
    assert state(rig, "n2") == ALIVE and rig.node.members.usable("n2-id")
    rig.wait(1.5)
    assert state(rig, "n2") == ALIVE


def test_another_identity_at_its_address_proves_it_gone(rig: Rig) -> None:
    rig.tell(ev.LinkDown("n2-id", "closed"))
    rig.tell(ev.LinkUp("n9-id", "/n2", True))
    assert state(rig, "n2") == SUSPECT


def test_silence_for_the_ttl_drops_and_a_deaf_link_is_redialled_before(rig: Rig) -> None:
    hung_up: list[ef.Effect] = []
    for _ in range(50):
        hung_up += [e for e in rig.wait(0.1) if isinstance(e, ef.Hangup)]
        beat(rig, "n3")
    assert hung_up == [ef.Hangup("n2-id")] and state(rig, "n2") == ALIVE
    for _ in range(31):
        rig.wait(0.1)
        beat(rig, "n3")
    assert state(rig, "n2") == DROPPED and state(rig, "n3") == ALIVE


def test_who_answers_a_ping_is_not_dropped_for_heartbeats_that_gossip_lost(rig: Rig) -> None:
    stamps = [p.stamp_us for _ in range(65) for p in pings(rig, rig.wait(0.1))]
    rig.hear("n2", wire.Pong(stamps[-1]))
    for _ in range(20):
        rig.wait(0.1)
    assert state(rig, "n2") == ALIVE and state(rig, "n3") == DROPPED


def pings(_: Rig, effects: list[ef.Effect]) -> list[wire.Ping]:
    return [e.message for e in effects if isinstance(e, ef.Send) and isinstance(e.message, wire.Ping)]


def test_goodbye_is_believed_for_that_boot_only(rig: Rig) -> None:
    rig.hear("n2", wire.Goodbye(boot=99, incarnation=1))
    assert state(rig, "n2") == ALIVE
    rig.hear("n2", wire.Goodbye(boot=1, incarnation=1))
    assert state(rig, "n2") == LEFT and rig.notes("node.leave") == [{"node": "n2"}]
    assert rig.node.members.present() == ("n1-id", "n3-id")
    beat(rig, "n2")  # an old heartbeat of that boot
    assert state(rig, "n2") == LEFT and rig.count("heartbeat_outdated") == 1
    beat(rig, "n2", boot=2, incarnation=2)
    assert state(rig, "n2") == ALIVE


def test_leaving_says_goodbye_by_gossip_and_on_every_link(rig: Rig) -> None:
    rig.tell(ev.Leave())
    word = wire.Goodbye(1, 1)
    assert ef.Gossip("/falak/1/heartbeat/main", word) in rig.effects
    assert rig.receivers(wire.Goodbye) == ["n2", "n3"]
    assert ef.Persist("book", b"/n2\n/n3") in rig.effects


def test_a_restart_ends_the_earlier_boot(rig: Rig) -> None:
    beat(rig, "n2", boot=2, incarnation=2)
    assert rig.node.members.boot_of("n2-id") == 2
    assert rig.notes("node.join") == [{"node": "n2", "boot": "restarted"}]
    beat(rig, "n2", boot=1, incarnation=1)  # late
    assert rig.node.members.boot_of("n2-id") == 2 and rig.count("heartbeat_outdated") == 1


@pytest.mark.parametrize("foreign", [{"cluster": "other"}, {"name": "n7"}])
def test_foreign_heartbeats_are_counted_and_ignored(rig: Rig, foreign: dict[str, str]) -> None:
    said = profile(foreign.get("name", "n9"), cluster=foreign.get("cluster", "main"))
    rig.hear("n9", wire.Heartbeat(said, 1))
    assert "n9-id" not in rig.node.members.members and rig.count("heartbeat_foreign") == 1


def test_a_heartbeat_of_an_unlinked_node_makes_it_a_member_that_is_dialled(rig: Rig) -> None:
    beat(rig, "n9")
    assert state(rig, "n9") == ALIVE and not rig.node.members.reachable("n9-id")
    assert [e for e in rig.wait(1.0) if isinstance(e, ef.Dial)] == [ef.Dial("n9-id", "/n9")]


def test_a_request_that_could_not_be_handed_over_suspends_until_it_is_heard(rig: Rig) -> None:
    rig.tell(ev.Unreachable("hello", "n2-id"))
    assert state(rig, "n2") == ALIVE and not rig.node.members.usable("n2-id")
    beat(rig, "n2")
    assert rig.node.members.usable("n2-id")
    rig.tell(ev.Unreachable("hello", "nobody-id"))


def test_the_cell_is_full_at_256() -> None:
    rig = Rig()
    rig.begin()
    for i in range(2, CELL_MAX + 1):
        beat(rig, f"n{i}")
    assert len(rig.node.members.present()) == CELL_MAX
    beat(rig, "n999")
    assert "n999-id" not in rig.node.members.members and rig.count("heartbeat_beyond_cell") == 1


def test_nodes_that_are_gone_are_forgotten_beyond_a_bound() -> None:
    rig = Rig()
    rig.begin()
    for i in range(KNOWN_MAX + 50):
        beat(rig, f"x{i}")
        rig.hear(f"x{i}", wire.Goodbye(1, 1))
    size, limit = rig.node.sizes()["nodes known"]
    assert size == limit == KNOWN_MAX and "x0-id" not in rig.node.members.members


def test_a_dropped_member_is_forgotten_after_its_time() -> None:
    rig = Rig(Settings(redial_forget_s=60.0))
    rig.begin()
    rig.meet("n2")
    rig.lose("n2")
    for _ in range(200):
        if any(isinstance(e, ef.Dial) for e in rig.wait(1.0)):
            rig.tell(ev.DialFailed("n2-id", "/n2", True, "refused"))
    assert "n2-id" not in rig.node.members.members


def test_round_trips_are_smoothed_and_odd_pongs_ignored(rig: Rig) -> None:
    rig.now += 0.008
    rig.hear("n2", wire.Pong(round((rig.now - 0.008) * 1e6)))
    assert rig.node.members.trips.seconds("n2-id") == pytest.approx(0.008, abs=1e-5)
    rig.hear("n2", wire.Pong(round((rig.now - 0.016) * 1e6)))
    assert rig.node.members.trips.seconds("n2-id") == pytest.approx(0.009, abs=1e-5)
    rig.hear("n2", wire.Pong(round((rig.now + 50) * 1e6)))
    assert rig.count("pong_odd") == 1 and rig.node.members.trips.seconds("n1-id") == 0.0
    rig.hear("n2", wire.Ping(77))
    assert rig.sent(wire.Pong, "n2") == [wire.Pong(77)]


def test_the_book_of_addresses_is_kept_on_disk(rig: Rig) -> None:
    rig.wait(1.5)
    assert ef.Persist("book", b"/n2\n/n3") in rig.effects
    rig.lose("n2")
    rig.hear("n3", wire.Goodbye(1, 1))
    rig.wait(2.5)
    assert state(rig, "n2") == DROPPED
    assert rig.did(ef.Persist)[-1] == ef.Persist("book", b"/n2\n/n3"), "who is gone may come back"


def test_beats_are_exchanged_with_ring_neighbours_only() -> None:
    rig = Rig()
    rig.begin()
    on: dict[str, bool] = {}
    for i in range(2, 12):
        rig.meet(f"n{i}")
        on |= {e.peer: e.on for e in rig.did(ef.Beat)}
    assert sum(on.values()) == 6


def test_a_link_lost_and_made_again_before_its_hello_does_not_stall_dialling() -> None:
    """A member that is heard of after its link came up is linked, not to be dialled for ever."""
    rig = Rig()
    rig.begin(contacts=("/n2",))
    rig.link("n3")
    rig.meet("n2")
    rig.hear("n2", wire.Welcome((profile("n2"), profile("n3"))))
    assert not [d for d in rig.did(ef.Dial) if d.peer == "n3-id"]
    rig.hear("n3", wire.Hello(profile("n3")))
    rig.tell(ev.LinkDown("n3-id", "closed"))
    assert rig.did(ef.Dial) == [ef.Dial("n3-id", "/n3")]


def test_load_rides_on_calls_and_answers(rig: Rig) -> None:
    busy = Capacity(4000, GIB, 100, GIB, 3900)
    words: list[wire.Message] = [
        wire.Call("c", "x", busy),
        wire.Decline("c", 0, 1, "no", busy),
        wire.Propose("c", 1, 0, 1, 1, "n2-id", ("n1-id",), "x", busy),
        wire.Claimed(claim("c", "n2"), busy),
    ]
    for word in words:
        beat(rig, "n2")
        assert rig.node.members.members["n2-id"].profile.capacity != busy
        rig.hear("n2", word)
        assert rig.node.members.members["n2-id"].profile.capacity == busy
    rig.hear("stranger", words[0])
    assert "stranger-id" not in rig.node.members.members
