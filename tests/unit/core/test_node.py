"""The sum: dispatch of everything, bounded steps, owed ticks, the same bytes for the same seed."""

import typing

import pytest

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.model import Capacity, Identity, Vote
from falak.core.node import Node, Place
from falak.core.settings import STEP_SLOTS_MAX, Settings
from tests.unit.core.rig import Rig, claim, profile, record, signed


def test_every_event_and_every_message_has_somebody_to_take_it() -> None:
    node = Rig().node
    assert set(node._on_event) == set(typing.get_args(ev.Event))
    assert set(node._on_message) == set(typing.get_args(wire.Message))


def test_every_timer_has_somebody_to_take_it() -> None:
    rig = Rig()
    rig.begin()
    rig.meet("n2", "n3")
    rig.know(record("c"))
    rig.tell(ev.Wanted("c"))
    rig.tell(ev.Publish(1, record("d", 0)))
    rig.tell(ev.Wanted("host/x.localhost"))
    assert {key[0] for key in rig.node.turn.timers._at} <= set(rig.node._on_timer)
    rig.wait(30.0)


ANY = [
    wire.Hello(profile("n2")), wire.HelloRefused("no"), wire.Welcome(()), wire.Introduced(profile("n3")),
    wire.Heartbeat(profile("n2"), 1), wire.Goodbye(1, 1), wire.Ping(1), wire.Pong(1),
    wire.Announce(signed(record("a"))), wire.Records(()), wire.Lookup("a", 1), wire.Found("a", 1),
    wire.Keep(signed(record("a"))), wire.Kept("a", b"x"), wire.HostEntry("h", signed(record("a"))),
    wire.Call("a", "x", Capacity()), wire.Heard("a", "x"), wire.Holders("a", "x", ()), wire.Unknown("a", "x"),
    wire.Refused("a", "x", "no", 1), wire.Look("a", 0), wire.Saw("a", 0, Vote()),
    wire.Summon("a", 1, 0, 1, 0, 1, ("n1-id",), "n2-id", False, "x"),
    wire.Decline("a", 0, 1, "no", Capacity()), wire.Withdrawn("a", 0, 1), wire.Proceed("a", 0, 1),
    wire.Propose("a", 1, 0, 1, 1, "n2-id", ("n1-id",), "x", Capacity()), wire.Voted("a", 0, 1, Vote()),
    wire.Won("a", 0, 1, "n2-id"), wire.Claimed(claim("a", "n2"), Capacity()),
    wire.Released(claim("a", "n2"), "over"), wire.Outclaimed(claim("a", "n2")), wire.ClaimHeard("a", 0, 1),
    wire.ClaimsAsked(), wire.ClaimsGiven(()),
    wire.Renewals(((b"x" * 16, 1),)), wire.Compare(("default",), ()), wire.Differs((), (), ()),
    wire.RecordsAsked(("a",), (b"x" * 16,)),
    wire.Probe("n3-id"), wire.Probed("n3-id", False), wire.Accused("n3-id", 1, 1, "silent"),
    wire.MembersDigest(b"x" * 16), wire.MembersSeen((("n3-id", 1),), True),
]  # fmt: skip


def test_the_list_of_any_messages_is_whole() -> None:
    assert {type(message) for message in ANY} == set(typing.get_args(wire.Message))


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("message", ANY, ids=lambda m: type(m).__name__)
def test_any_message_of_anybody_at_any_time_does_no_harm(message: wire.Message, known: bool) -> None:
    """Of a stranger before anything began, and of a member in a node that knows the capsule."""
    rig = Rig()
    rig.hear("n2", message)
    rig.begin()
    if known:
        rig.meet("n2", "n3")
        rig.know(record("a"))
    for _ in range(2):
        rig.hear("n2", message)
    rig.wait(12.0)
    for size, limit in rig.node.sizes().values():
        assert size <= limit


@pytest.mark.parametrize(
    "event",
    [
        ev.LinkDown("x", "closed"), ev.DialFailed("x", "/x", True, "no"), ev.PeerSilent("x", 1.0),
        ev.PeerBack("x"), ev.OtherVersion("x", 2),
        ev.Undelivered("x"), ev.Wanted("a"), ev.Forgone("a"), ev.Forgone("host/a"),
        ev.NotHere("a", "x"), ev.Unreachable("a", "x"), ev.Answered("a", 0.1, 0.1), ev.Signed(9, signed(record("a"))),
        ev.Persisted("record/a"), ev.Persisted("book", "why"), ev.Fetched("d", "x"), ev.Prepared("d"),
        ev.Started(9, 0.1), ev.StartFailed(9, "why", False), ev.Ended(9, "why"), ev.Tick(),
    ],
    ids=lambda e: type(e).__name__,
)  # fmt: skip
def test_any_event_about_what_is_not_known_does_no_harm(event: ev.Event) -> None:
    rig = Rig()
    rig.begin()
    rig.tell(event)
    rig.wait(1.0)


def test_a_step_is_bounded_and_the_rest_is_due_at_once() -> None:
    rig = Rig()
    rig.begin()
    node = rig.node
    for i in range(3 * STEP_SLOTS_MAX):
        node.turn.timers.set(("publish", "search", str(i)), rig.now)
    left = len(node.turn.timers)
    node.step(ev.Tick(), rig.now)
    assert left - len(node.turn.timers) == STEP_SLOTS_MAX
    assert node.next_deadline() == rig.now
    for _ in range(3 * STEP_SLOTS_MAX):
        node.turn.send("n1-id", wire.Heard("a", "x"))
    node.step(ev.Tick(), rig.now)
    assert len(node.turn.inbox) == 2 * STEP_SLOTS_MAX and node.next_deadline() == rig.now


def test_members_that_change_are_seen_to_in_bounded_steps() -> None:
    rig = Rig()
    rig.begin()
    rig.know(*(record(f"c{i}") for i in range(200)))
    node = rig.node
    node.step(ev.LinkUp("n2-id", "/n2", False), rig.now)
    node.step(ev.Received("n2-id", wire.Hello(profile("n2"))), rig.now)
    assert node.next_deadline() == rig.now and len(node.orbits._recheck) >= 200 - STEP_SLOTS_MAX


def test_the_same_events_give_the_same_effects() -> None:
    def history(seed: int) -> list[list[ef.Effect]]:
        node = Node(Identity("n1-id", "n1", 1), Place(), Settings(), seed)
        events: list[ev.Event] = [
            ev.Begin(1, ("/n1",), ("/n2",)),
            ev.LinkUp("n2-id", "/n2", True),
            ev.Wanted("host/a.localhost"),
        ]
        effects = [node.step(event, 1.0 + i) for i, event in enumerate(events)]
        while (due := node.next_deadline()) is not None and due < 30.0:
            effects.append(node.step(ev.Tick(), due))
        return effects

    assert history(1) == history(1) != history(2)


def test_a_capsule_without_a_record_is_matched_again() -> None:
    rig = Rig()
    rig.begin()
    rig.tell(ev.Wanted("gone"))
    assert rig.did(ef.Retry) == [ef.Retry("gone")]


def test_the_disk_is_taken_up_before_the_node_serves() -> None:
    rig = Rig()
    effects = rig.begin(kept=(signed(record("c")),))
    kinds = [type(e) for e in effects]
    assert kinds.index(ef.SetRoutes) < kinds.index(ef.Joined)


def test_leaving_ends_copies_and_says_goodbye_last() -> None:
    rig = Rig()
    rig.begin()
    rig.meet("n2")
    rig.hear("n2", wire.Announce(signed(record("c"))))
    rig.tell(ev.Wanted("c"))
    rig.tell(ev.Leave())
    assert rig.node.profile().draining and rig.effects[-1] == ef.Left()
    word = rig.effects[-2]
    assert isinstance(word, ef.Send) and isinstance(word.message, wire.Goodbye)
