"""A node: the sum of its rooms behind one function, ``step(event, now) -> effects``.

Owns the wiring and the dispatch, no rule of its own. The same event at the same time in the same state gives
the same effects: no clock, no socket, no randomness but the seeded one, no set is iterated. A driver owes:

- ``step`` for every event, in the order they came to it, with monotonic seconds that never go back;
- a ``Tick`` by ``next_deadline()`` (None: nothing is due);
- every effect carried out in its order (see ``effects``), the answers as events;
- one step at a time.

A step handles at most ``STEP_SLOTS_MAX`` timers and messages to itself; what is left, and what a timer set for
at once, is due at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from falak.core import events as ev
from falak.core import wire
from falak.core.artifacts import Artifacts
from falak.core.claims import Claims
from falak.core.draining import Draining
from falak.core.effects import Effect, Retry
from falak.core.election import Election
from falak.core.gravity import Weights
from falak.core.idling import Idling
from falak.core.joining import Joining
from falak.core.membership import Membership
from falak.core.model import Capacity, Claim, Identity, Profile
from falak.core.momentum import Copy, Momentum
from falak.core.orbits import Orbits
from falak.core.publishing import Publishing
from falak.core.rollcall import RollCall
from falak.core.settings import STEP_SLOTS_MAX, Settings
from falak.core.sync import Sync
from falak.core.turn import Turn

SLEPT_S: Final = 2.0
"""A node that stood still for longer asks what it missed before it lets records expire."""
UNDER_WAY_S: Final = 5.0
"""What came this long before a link was lost may have been lost on its way to the other side."""


class Place(msgspec.Struct, frozen=True):
    """What an operator says of a node: its orbits, tags, what it can run, and where its gateway listens."""

    orbits: tuple[str, ...] = ("default",)
    tags: tuple[str, ...] = ()
    arch: str = ""
    runtimes: tuple[str, ...] = ("wasm",)
    http: str = ""


class Node:
    """One node's whole policy. ``seed`` makes its randomness reproducible."""

    def __init__(
        self, me: Identity, place: Place, settings: Settings, seed: int, weights: Weights | None = None
    ) -> None:
        self.me, self.place, self.settings = me, place, settings
        self.turn = Turn(me.id, seed)
        self._capacity = Capacity()
        self.members = Membership(self.turn, settings, self.profile, self)
        self.rollcall = RollCall(self.turn, self.members)
        self.joining = Joining(self.turn, settings, self.members, self.profile, self)
        self.artifacts = Artifacts(self.turn, settings, self._artifact_changed)
        self.orbits = Orbits(self.turn, settings, self.members, self.artifacts, place.orbits, self)
        self.sync = Sync(self.turn, settings, self.members, self.orbits)
        self.publishing = Publishing(self.turn, settings, self.members, self.orbits, self.artifacts)
        self.claims = Claims(
            self.turn,
            settings,
            self.members,
            self.orbits,
            self._directory_changed,
            self._give_way,
            self.capacity,
        )
        self.momentum = Momentum(self.turn, settings, self.orbits, self.artifacts, self)
        self.election = Election(
            self.turn,
            settings,
            weights or Weights(),
            self.members,
            self.orbits,
            self.claims,
            self.momentum,
            self.artifacts,
            self.profile,
        )
        self.idling = Idling(self.turn, settings, self.momentum, self.election.end_copy)
        self.draining = Draining(self.turn, self.members, self.election, self.momentum)
        self._on_event = self._event_table()
        self._on_message = self._message_table()
        self._on_timer = self._timer_table()

    # --- the driver's side -------------------------------------------------------------------------------

    def step(self, event: ev.Event, now: float) -> list[Effect]:
        """Take in one event. Returns what is to be done, in order."""
        self.turn.now = now
        self.turn.effects = []
        self.turn.own.clear()
        self._on_event[type(event)](event)
        self._drain(now)
        self.draining.settle()
        return self.turn.effects

    def next_deadline(self) -> float | None:
        """When a ``Tick`` is owed."""
        return self.turn.now if self.turn.inbox else self.turn.timers.next_at()

    def _drain(self, now: float) -> None:
        slots, mark = STEP_SLOTS_MAX, self.turn.timers.mark()
        while slots and self.turn.inbox:
            slots -= 1
            self._message(self.me.id, self.turn.inbox.popleft())
        while slots:
            key = self.turn.timers.pop_due(now, mark)
            if key is None:
                return
            slots -= 1
            self._on_timer[key[0]](*key[1:])
            while slots and self.turn.inbox:
                slots -= 1
                self._message(self.me.id, self.turn.inbox.popleft())

    # --- what the node says of itself --------------------------------------------------------------------

    def capacity(self) -> Capacity:
        """What this node has, and what is left when what its copies declared is taken off."""
        cpu, memory = self.momentum.reserved()
        seen = self._capacity
        return Capacity(
            seen.cpu_millis,
            seen.memory_bytes,
            max(0, min(seen.free_cpu_millis, seen.cpu_millis - cpu)),
            max(0, min(seen.free_memory_bytes, seen.memory_bytes - memory)),
            seen.load_millis,
        )

    def profile(self) -> Profile:
        """What goes into hellos and heartbeats."""
        count, digest = self.claims.summary()
        place = self.place
        return Profile(
            self.me,
            self.members.incarnation,
            self.members.addresses,
            place.orbits,
            place.tags,
            place.arch,
            place.runtimes,
            self.capacity(),
            self.draining.on,
            count,
            digest,
            round(1000 * self.momentum.node_failure_weight()),
            bool(self.orbits.keeping.disk_why),
            place.http,
        )

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Everything here that could grow, and its limit, by name."""
        rooms = (
            self.members,
            self.rollcall,
            self.orbits,
            self.sync,
            self.publishing,
            self.claims,
            self.momentum,
            self.election,
        )
        return {name: size for room in rooms for name, size in room.sizes().items()}

    # --- joints between rooms ----------------------------------------------------------------------------

    def member_back(self, peer: str) -> None:
        """See ``member.Watcher``."""
        self.claims.member_changed(peer, "")
        self.election.calls.member_changed(peer)
        if self.members.reachable(peer):
            self.claims.met(peer)
            self.election.calls.met(peer)
            self.election.convening.met(peer)

    def member_suspended(self, peer: str) -> None:
        """See ``member.Watcher``."""
        self.claims.member_changed(peer, f"{self.members.name_of(peer)} is suspect")
        self.election.calls.member_changed(peer)
        self.election.convening.member_suspended(peer)

    def member_unlinked(self, peer: str) -> None:
        """See ``member.Watcher``."""
        self.election.calls.member_changed(peer)

    def boot_ended(self, peer: str, boot: int) -> None:
        """See ``member.Watcher``."""
        self.rollcall.gone(peer)
        self.claims.boot_ended(peer, boot)
        self.sync.boot_ended(peer)
        self.election.calls.boot_ended(peer)
        self.election.convening.callers.gone(peer)
        self.election.convening.member_suspended(peer)

    def members_changed(self) -> None:
        """See ``member.Watcher``."""
        self.orbits.members_changed()
        self.claims.members_changed()
        self.publishing.progressed()
        self.election.convening.members_changed()
        self.election.scaling.members_changed()

    def met(self, peer: str, joining: bool) -> None:
        """See ``joining.Host``."""
        member = self.members.members[peer]
        if not joining:
            self.sync.first_sync(peer, member.profile, member.lost_at - UNDER_WAY_S)
            self.rollcall.met(peer, member)
            self.sync.met(peer)
        self.claims.met(peer)
        self.election.calls.met(peer)
        self.election.convening.met(peer)

    def first_sync(self, peer: str, profile: Profile) -> None:
        """See ``joining.Host``."""
        self.sync.first_sync(peer, profile)

    def joined(self) -> None:
        """See ``joining.Host``."""
        self.orbits.joined()
        self.sync.with_somebody()
        self.election.voting.look_again()
        self.election.calls.joined()
        self.publishing.joined()
        self.election.scaling.members_changed()

    def record_changed(self, name: str, generation: int, born: bool) -> None:
        """See ``orbits.Listener``. A tombstone ends what there is."""
        if born:
            self.election.convening.saw_birth(name)
        if self.orbits.get(name) is None:
            self.record_gone(name)
        else:
            self.election.record_changed(name, generation)
        self.publishing.record_changed(name)

    def record_gone(self, name: str, why: str = "it was withdrawn") -> None:
        """A capsule's record is withdrawn or over: its copies here drain, and nothing is sent to others."""
        self.election.record_gone(name, why)

    def copy_active(self, copy: Copy) -> None:
        """See ``momentum.Holder``."""
        self.election.copy_active(copy)

    def copy_failed(self, copy: Copy, why: str, capsule_fault: bool) -> None:
        """See ``momentum.Holder``."""
        self.election.copy_failed(copy, why, capsule_fault)

    def _artifact_changed(self, digest: str, why: str, capsule_fault: bool) -> None:
        self.orbits.keeping.artifact_changed(digest, why)
        self.momentum.artifact_changed(digest, why, capsule_fault)
        self.publishing.progressed()

    def _directory_changed(self, name: str, ended: Claim | None, reason: str, capsule_fault: bool) -> None:
        if ended and self.members.boot_of(ended.holder) is None and not self.claims.live(name):
            self.orbits.risk.copy_ended(name, ended.holder)
        self.election.directory_changed(name, ended, reason, capsule_fault)

    def _give_way(self, claim: Claim) -> None:
        self.election.give_way(claim)

    # --- events ------------------------------------------------------------------------------------------

    def _event_table(self) -> dict[type[ev.Event], Callable[[Any], None]]:
        members, momentum, artifacts = self.members, self.momentum, self.artifacts
        calls = self.election.calls
        return {
            ev.Begin: self._begin,
            ev.Tick: lambda e: None,
            ev.LinkUp: self._link_up,
            ev.LinkDown: self._link_down,
            ev.DialFailed: self._dial_failed,
            ev.PeerSilent: lambda e: members.suspicion.silent(e.peer, True),
            ev.PeerBack: lambda e: members.suspicion.silent(e.peer, False),
            ev.Stalled: self._stalled,
            ev.Received: lambda e: self._message(e.peer, e.message),
            ev.OtherVersion: self.joining.other_version,
            ev.Undelivered: lambda e: self.turn.count("undelivered"),
            ev.Wanted: self._wanted,
            ev.Forgone: self._forgone,
            ev.NotHere: lambda e: calls.not_here(e.capsule, e.peer),
            ev.Unreachable: lambda e: members.unreachable(e.peer),
            ev.Answered: calls.answered,
            ev.Publish: self.publishing.publish,
            ev.Signed: self.publishing.signed,
            ev.Withdraw: self.publishing.withdraw,
            ev.Rollback: self.publishing.roll_back,
            ev.Persisted: self._persisted,
            ev.Fetched: artifacts.fetched,
            ev.Prepared: artifacts.prepared,
            ev.Started: momentum.started,
            ev.StartFailed: momentum.start_failed,
            ev.Ended: momentum.ended,
            ev.Sampled: self._sampled,
            ev.Crowded: self.election.scaling.crowded,
            ev.Drained: momentum.drained,
            ev.Drain: self.draining.told,
            ev.Leave: lambda e: self.draining.leave(),
        }

    def _begin(self, event: ev.Begin) -> None:
        self.artifacts.found(event.artifacts)
        self.members.begin(event)
        self.rollcall.begin()
        self.orbits.begin(event)
        self.sync.begin()
        if event.incarnation > 1 and event.contacts:
            self.election.voting.begin_silence()
        self.joining.begin(event)

    def _link_up(self, event: ev.LinkUp) -> None:
        self.members.link_up(event)
        self.joining.link_up(event)

    def _link_down(self, event: ev.LinkDown) -> None:
        self.joining.link_down(event)
        self.members.link_down(event)

    def _dial_failed(self, event: ev.DialFailed) -> None:
        self.members.dial_failed(event)
        self.joining.dial_failed(event)

    def _wanted(self, event: ev.Wanted) -> None:
        if event.key.startswith("host/"):
            self.publishing.wanted(event.key)
        elif self.orbits.get(event.key) is None:
            self.turn.do(Retry(event.key))
        else:
            self.election.calls.wanted(event.key)

    def _forgone(self, event: ev.Forgone) -> None:
        if event.key.startswith("host/"):
            self.publishing.forgone(event.key)
        else:
            self.election.calls.forgone(event.key)

    def _persisted(self, event: ev.Persisted) -> None:
        self.orbits.keeping.persisted(event)
        self.publishing.progressed()

    def _stalled(self, event: ev.Stalled) -> None:
        self.members.suspicion.stalled(event.seconds)
        if event.seconds > SLEPT_S:
            self.orbits.presence.woke()
            self.sync.with_somebody()

    def _sampled(self, event: ev.Sampled) -> None:
        self._capacity = event.capacity
        self.orbits.presence.clock(event.wall_s)
        self.idling.sampled(event.used)

    # --- messages ----------------------------------------------------------------------------------------

    def _message(self, peer: str, message: wire.Message) -> None:
        if isinstance(message, wire.Call | wire.Decline | wire.Propose | wire.Claimed):
            self.members.loaded(peer, message.capacity)
        self._on_message[type(message)](peer, message)

    def _message_table(self) -> dict[type[wire.Message], Callable[[str, Any], None]]:
        members, joining = self.members, self.joining
        orbits, publishing, claims = self.orbits, self.publishing, self.claims
        calls, voting = self.election.calls, self.election.voting
        convening, candidates = self.election.convening, self.election.candidates
        return {
            wire.Hello: joining.hello,
            wire.HelloRefused: joining.hello_refused,
            wire.Welcome: joining.welcome,
            wire.Introduced: lambda p, m: joining.introduced(m),
            wire.Heartbeat: self._heartbeat,
            wire.Goodbye: members.goodbye,
            wire.Probe: members.suspicion.probe,
            wire.Probed: members.suspicion.probed,
            wire.Accused: members.suspicion.accused,
            wire.MembersDigest: self.rollcall.digest,
            wire.MembersSeen: self.rollcall.seen,
            wire.Ping: members.trips.ping,
            wire.Pong: members.pong,
            wire.Announce: lambda p, m: orbits.announced(m),
            wire.Records: orbits.synced,
            wire.Renewals: orbits.presence.renewed,
            wire.Compare: self.sync.compared,
            wire.Differs: self.sync.differs,
            wire.RecordsAsked: self.sync.asked,
            wire.Lookup: orbits.lookup,
            wire.Found: publishing.found,
            wire.Keep: orbits.keeping.keep,
            wire.Kept: publishing.kept,
            wire.HostEntry: lambda p, m: orbits.hosts.entered(m),
            wire.Call: convening.called,
            wire.Heard: calls.heard,
            wire.Holders: self.election.holders,
            wire.Unknown: self.election.unknown,
            wire.Refused: self.election.refused,
            wire.Look: convening.looked,
            wire.Saw: convening.saw,
            wire.Summon: candidates.summoned,
            wire.Decline: convening.declined,
            wire.Proceed: candidates.proceed,
            wire.Propose: voting.proposed,
            wire.Withdrawn: voting.withdrawn,
            wire.Voted: self._voted,
            wire.Won: candidates.announced,
            wire.Claimed: claims.claimed,
            wire.Released: claims.released,
            wire.Outclaimed: claims.outclaimed,
            wire.ClaimHeard: claims.heard,
            wire.ClaimsAsked: claims.asked,
            wire.ClaimsGiven: claims.given,
        }

    def _heartbeat(self, peer: str, message: wire.Heartbeat) -> None:
        before = self.members.profile_of(peer)
        self.members.heartbeat(peer, message)
        if before and before.cannot_store != message.profile.cannot_store:
            self.orbits.members_changed()
        if self.members.joined and self.members.usable(peer):
            self.claims.compare(peer, message.profile.claims, message.profile.claims_digest)

    def _voted(self, peer: str, message: wire.Voted) -> None:
        self.election.candidates.voted(peer, message)
        self.election.convening.voted(peer, message)

    # --- timers ------------------------------------------------------------------------------------------

    def _timer_table(self) -> dict[str, Callable[..., None]]:
        return {
            "member": lambda what, peer="": self.members.due(what, peer),
            "suspicion": self.members.suspicion.due,
            "rollcall": lambda what: self.rollcall.due(),
            "joining": lambda what, peer="": self.joining.due(what, peer),
            "orbits": self.orbits.due,
            "risk": lambda what: self.orbits.regossip(),
            "presence": self.orbits.presence.due,
            "keeping": lambda what: self.orbits.keeping.due(),
            "sync": lambda what, peer="": self.sync.due(what, peer),
            "publish": self.publishing.due,
            "claims": self.claims.due,
            "momentum": self.momentum.due,
            "scale": self.election.scaling.due,
            "voting": lambda what: self.election.voting.look_again(),
            "calls": self.election.calls.due,
            "convene": self.election.convening.due,
            "candidate": self.election.candidates.due,
        }
