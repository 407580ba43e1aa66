"""Who is a member, who is alive, who is suspect, dropped or gone on purpose. Owns links, hellos, heartbeats.

What it never does: look at capsules. Others hear of changes through ``Watcher``. States of a member, as
``falak nodes`` shows them:

    (heard of) --hello or heartbeat--> alive
    alive   --link closed and redial refused--> suspect --suspect_s unrefuted--> dropped
    alive   --no heartbeat for its TTL--> dropped
    alive, suspect --goodbye--> left
    suspect, dropped, left --hello or heartbeat of that boot or a newer incarnation--> alive (left: newer only)

A suspect is also *suspended*: what it claims is not listed and protects no slot. A request that could not be
handed to a member suspends it too, without suspicion, until it is heard again. A member whose link is open but
whose heartbeats stay away is hung up on and redialled once before its TTL ends (it may have gone deaf).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from falak.core.effects import Beat, Dial, Hangup, Joined, Persist, Subscribe
from falak.core.events import Begin, DialFailed, LinkDown, LinkUp
from falak.core.model import ALIVE, DROPPED, LEFT, SUSPECT, Profile
from falak.core.rendezvous import neighbours
from falak.core.settings import CELL_MAX, Settings, heartbeat_interval_s
from falak.core.turn import Turn
from falak.core.wire import Goodbye, Heartbeat, Hello, HelloRefused, Introduced, Ping, Pong, Welcome


class Watcher(Protocol):
    """Who wants to know of members: the node, which tells its rooms."""

    def member_back(self, peer: str) -> None:
        """It may be listed again."""

    def member_suspended(self, peer: str) -> None:
        """There is evidence against it."""

    def boot_ended(self, peer: str, boot: int) -> None:
        """That run of the member is over: what it claimed is void."""

    def members_changed(self) -> None:
        """The set of members that are not dropped is another one: electors move."""

    def greeted(self, peer: str, joining: bool) -> None:
        """A hello of the peer was accepted; a joiner is owed a first sync."""

    def joined(self) -> None:
        """This node is part of the mesh from now on."""


@dataclass(slots=True)
class Member:
    """What is known of another node."""

    profile: Profile
    state: str
    heard_at: float
    linked: bool = False
    greeted: bool = False
    suspended: bool = False
    silent: bool = False
    beating: bool = False
    tries: int = 0
    dialling: bool = False
    lost_at: float = 0.0
    rtt_s: float = 0.0


class Membership:
    """The room. ``describe`` gives this node's current profile."""

    def __init__(
        self, turn: Turn, settings: Settings, describe: Callable[[], Profile], watcher: Watcher
    ) -> None:
        self._turn, self._settings, self._describe, self._watcher = turn, settings, describe, watcher
        self.members: dict[str, Member] = {}
        self.incarnation = 1
        self.addresses: tuple[str, ...] = ()
        self.joined = False
        self._contacts: tuple[str, ...] = ()
        self._must_join = False
        self._greetings: set[str] = set()
        self._sequence = 0
        self._present: tuple[str, ...] = (turn.me,)

    # --- what others ask ---------------------------------------------------------------------------------

    def present(self) -> tuple[str, ...]:
        """Members that are not dropped and did not leave, this node included, sorted."""
        return self._present

    def usable(self, peer: str) -> bool:
        """Whether a member's claims are listed and its votes counted on."""
        if peer == self._turn.me:
            return True
        member = self.members.get(peer)
        return member is not None and member.state == ALIVE and not member.suspended

    def boot_of(self, peer: str) -> int | None:
        """The boot of a member's current run; None if it has none that is known to live."""
        if peer == self._turn.me:
            return self._describe().node.boot
        member = self.members.get(peer)
        return member.profile.node.boot if member and member.state in (ALIVE, SUSPECT) else None

    def profile_of(self, peer: str) -> Profile | None:
        """What a member last said of itself."""
        if peer == self._turn.me:
            return self._describe()
        member = self.members.get(peer)
        return member.profile if member else None

    def name_of(self, peer: str) -> str:
        """A member's name for people; its id where the name is not known."""
        profile = self.profile_of(peer)
        return profile.node.name if profile else peer

    def zones(self) -> dict[str, str]:
        """The declared zones of the members present."""
        found = ((peer, self.profile_of(peer)) for peer in self._present)
        return {peer: profile.node.zone for peer, profile in found if profile}

    def rtt_s(self, peer: str) -> float:
        """The smoothed round trip to a member, or the assumed one; 0 to oneself."""
        if peer == self._turn.me:
            return 0.0
        member = self.members.get(peer)
        return member.rtt_s if member and member.rtt_s else self._settings.rtt_s

    def sample_rtt(self, peer: str, seconds: float) -> None:
        """A measured round trip (smoothed by 1/8, RFC 6298)."""
        member = self.members.get(peer)
        if member:
            member.rtt_s = seconds if not member.rtt_s else member.rtt_s + 0.125 * (seconds - member.rtt_s)

    def _ping(self, peer: str) -> None:
        self._turn.send(peer, Ping(round(self._turn.now * 1e6)))

    def ping(self, peer: str, message: Ping) -> None:
        """A peer measures its way to us."""
        self._turn.send(peer, Pong(message.stamp_us))

    def pong(self, peer: str, message: Pong) -> None:
        """A peer answered: one round trip, unless the stamp is not ours."""
        seconds = self._turn.now - message.stamp_us / 1e6
        if 0 <= seconds <= self._settings.hello_s:
            self.sample_rtt(peer, seconds)
        else:
            self._turn.count("pong_odd")

    def _ping_next(self) -> None:
        """One linked member a heartbeat, in turn: a measure that does not grow with the cell."""
        linked = [peer for peer, member in self.members.items() if member.linked]
        if linked:
            self._ping(linked[self._sequence % len(linked)])

    def interval_s(self) -> float:
        """Seconds between this node's heartbeats now."""
        return heartbeat_interval_s(self._settings, len(self._present))

    # --- joining and links -------------------------------------------------------------------------------

    def begin(self, event: Begin) -> None:
        """Start: hear heartbeats, dial the contacts, or start a mesh alone."""
        self.incarnation, self.addresses = event.incarnation, event.addresses
        self._contacts, self._must_join = event.contacts, event.must_join
        self._turn.do(Subscribe(self.topic()))
        self._turn.do(Persist("incarnation", str(event.incarnation).encode()))
        self._turn.after(self._settings.heartbeat_s * self._turn.rng.random(), "member", "heartbeat")
        if not event.contacts:
            self._join()
            return
        self._turn.after(self._settings.join_s, "member", "join")
        self._dial_contacts()

    def topic(self) -> str:
        """The cluster's heartbeat topic."""
        return f"/falak/1/heartbeat/{self._describe().node.cluster}"

    def _dial_contacts(self) -> None:
        for address in self._contacts:
            self._turn.do(Dial("", address))
        for peer, member in self.members.items():
            if member.linked:
                self._greet(peer)  # it may have answered everything but the first sync
        self._turn.after(self._jittered(1.0), "member", "contacts")

    def _join(self) -> None:
        self.joined = True
        self._turn.timers.cancel(("member", "join"))
        self._turn.timers.cancel(("member", "contacts"))
        self._turn.do(Joined())
        self._watcher.joined()

    def link_up(self, event: LinkUp) -> None:
        """Greet a peer on its new link."""
        member = self.members.get(event.peer)
        if member:
            member.linked, member.dialling, member.tries = True, False, 0
            self._turn.timers.cancel(("member", "dial", event.peer))
        self._greetings.add(event.peer)
        self._greet(event.peer)
        self._turn.after(self._settings.hello_s, "member", "hello", event.peer)

    def _greet(self, peer: str) -> None:
        known = self.members.get(peer)
        heard = known.profile.incarnation if known else 0
        self._turn.send(peer, Hello(self._describe(), not self.joined, heard))

    def link_down(self, event: LinkDown) -> None:
        """Dial again at once: a refusal is evidence, an answer the cure."""
        self._greetings.discard(event.peer)
        self._turn.timers.cancel(("member", "hello", event.peer))
        member = self.members.get(event.peer)
        if not member:
            return
        member.linked = member.beating = member.silent = False
        member.lost_at = self._turn.now
        if member.state != LEFT:
            self._dial(event.peer, member)

    def _dial(self, peer: str, member: Member) -> None:
        if member.linked or member.dialling or not member.profile.addresses:
            return
        member.dialling = True
        addresses = member.profile.addresses
        self._turn.do(Dial(peer, addresses[member.tries % len(addresses)]))

    def dial_failed(self, event: DialFailed) -> None:
        """A refusal makes a lost member suspect; any failure is tried again with back-off."""
        member = self.members.get(event.peer)
        if not member:
            return
        member.dialling = False
        member.tries += 1
        if member.linked:
            return
        if event.refused and member.state == ALIVE and member.greeted:
            self._suspect(event.peer, member)
        if member.state == LEFT or self._turn.now - member.lost_at > self._settings.redial_forget_s:
            return
        base = self._settings.redial_first_s * 2.0 ** min(member.tries, 20)
        wait = self._jittered(min(base, self._settings.redial_max_s))
        self._turn.after(wait, "member", "dial", event.peer)

    def _jittered(self, seconds: float) -> float:
        return seconds * (0.75 + 0.5 * self._turn.rng.random())

    # --- hello -------------------------------------------------------------------------------------------

    def hello(self, peer: str, message: Hello) -> None:
        """A peer says who it is: take it in, or refuse it with a reason."""
        why = self._objection(peer, message.profile)
        if why:
            self._turn.count("hello_refused")
            self._turn.send(peer, HelloRefused(why))
            return
        if message.heard_incarnation >= self.incarnation:
            self._rise(message.heard_incarnation)
            self._greet(peer)
        known = self.members.get(peer)
        if known and self._outdated(known, message.profile):
            self._greet(peer)  # it does not know yet that we saw a later run of it
            return
        first = known is None or not known.greeted
        member = self._heard(peer, message.profile)
        member.greeted, member.linked = True, True
        self._turn.timers.cancel(("member", "hello", peer))
        self._ping(peer)
        self._watch_ring()
        if message.joining and self.joined:
            self._welcome(peer, message.profile)
        self._watcher.greeted(peer, message.joining and self.joined)
        if first:
            self._turn.count("greeted")

    def _objection(self, peer: str, profile: Profile) -> str:
        mine = self._describe().node
        if profile.node.id != peer:
            return "the hello names another node than the link"
        if profile.node.cluster != mine.cluster:
            return f"this mesh's nodes are of cluster {mine.cluster}, not {profile.node.cluster}"
        if peer not in self.members and len(self._present) >= CELL_MAX:
            return f"the cell is full: {CELL_MAX} nodes; joining several cells is not possible yet"
        return ""

    def _rise(self, above: int) -> None:
        self.incarnation = above + 1
        self._turn.do(Persist("incarnation", str(self.incarnation).encode()))

    def _welcome(self, peer: str, profile: Profile) -> None:
        for other in self._present:
            member = self.members.get(other)
            if member and member.linked and other != peer:
                self._turn.send(other, Introduced(profile))

    def first_sync_done(self, peer: str) -> None:
        """The records are sent: end the joiner's first sync with the list of members."""
        profiles = [self.profile_of(other) for other in self._present if other != peer]
        self._turn.send(peer, Welcome(tuple(p for p in profiles if p)))

    def hello_refused(self, peer: str, message: HelloRefused) -> None:
        """The peer will not have us: say so where someone waits for the join."""
        if not self.joined:
            self._turn.do(Joined(f"{self.name_of(peer)} refused this node: {message.reason}"))

    def welcome(self, peer: str, message: Welcome) -> None:
        """The first sync was answered: this node is part of the mesh and dials everybody."""
        for profile in message.members:
            self.introduced(Introduced(profile), dial_now=True)
        if not self.joined:
            self._join()

    def introduced(self, message: Introduced, dial_now: bool = False) -> None:
        """Someone told us of a member. It counts only once it was heard itself."""
        profile = message.profile
        peer = profile.node.id
        if peer == self._turn.me or peer in self.members or len(self.members) >= CELL_MAX:
            return
        self.members[peer] = Member(profile, "", self._turn.now, lost_at=self._turn.now)
        if dial_now:
            self._dial(peer, self.members[peer])
        else:
            self._turn.after(self._jittered(0.5), "member", "dial", peer)

    # --- hearing of members ------------------------------------------------------------------------------

    def heartbeat(self, peer: str, message: Heartbeat) -> None:
        """A member's gossip: it lives, and this is what it has."""
        profile = message.profile
        known = self.members.get(peer)
        if profile.node.id != peer or profile.node.cluster != self._describe().node.cluster:
            self._turn.count("heartbeat_foreign")
        elif known is None and len(self._present) >= CELL_MAX:
            self._turn.count("heartbeat_beyond_cell")
        elif known and self._outdated(known, profile):
            self._turn.count("heartbeat_outdated")
        else:
            member = self._heard(peer, profile)
            if (
                not member.linked
                and not member.dialling
                and not self._turn.timers.has(("member", "dial", peer))
            ):
                self._turn.after(self._jittered(0.5), "member", "dial", peer)

    def _outdated(self, known: Member, profile: Profile) -> bool:
        if profile.node.boot == known.profile.node.boot:
            return profile.incarnation < known.profile.incarnation or known.state == LEFT
        return profile.incarnation <= known.profile.incarnation

    def _heard(self, peer: str, profile: Profile) -> Member:
        now = self._turn.now
        member = self.members.get(peer)
        if member is None:
            member = self.members[peer] = Member(profile, "", now, lost_at=now)
        before, was = member.profile.node.boot, member.state
        member.profile, member.heard_at, member.state = profile, now, ALIVE
        ttl_s = self.interval_s() * self._settings.heartbeat_ttl_intervals
        self._turn.after(ttl_s, "member", "ttl", peer)
        self._turn.after(ttl_s * 2 / 3, "member", "quiet", peer)
        self._turn.timers.cancel(("member", "drop", peer))
        if was in (ALIVE, SUSPECT) and before != profile.node.boot:
            self._watcher.boot_ended(peer, before)
            self._turn.note("node.join", node=profile.node.name, boot="restarted")
        elif was not in (ALIVE, SUSPECT):
            self._turn.note("node.join", node=profile.node.name)
        if was not in (ALIVE, SUSPECT):
            self._changed()
        if was == SUSPECT or member.suspended:
            member.suspended = False
            self._watcher.member_back(peer)
        return member

    def _changed(self) -> None:
        present = [peer for peer, m in self.members.items() if m.state in (ALIVE, SUSPECT)]
        self._present = tuple(sorted([*present, self._turn.me]))
        self._watch_ring()
        if not self._turn.timers.has(("member", "book")):
            self._turn.after(1.0, "member", "book")
        self._watcher.members_changed()

    def _watch_ring(self) -> None:
        linked = [peer for peer in self._present if peer != self._turn.me and self.members[peer].linked]
        ring = neighbours(self._turn.me, linked)
        for peer in linked:
            member = self.members[peer]
            if (peer in ring) != member.beating:
                member.beating = peer in ring
                self._turn.do(Beat(peer, member.beating))

    # --- evidence against members ------------------------------------------------------------------------

    def silent(self, peer: str, on: bool) -> None:
        """Native saw no beat for a while, or one again."""
        member = self.members.get(peer)
        if member:
            member.silent = on

    def unreachable(self, peer: str) -> None:
        """A request or message could not be handed over: suspend until it is heard again."""
        member = self.members.get(peer)
        if member and member.state == ALIVE and not member.suspended:
            member.suspended = True
            self._watcher.member_suspended(peer)

    def _suspect(self, peer: str, member: Member) -> None:
        member.state, member.suspended = SUSPECT, True
        self._turn.note("node.suspect", node=member.profile.node.name, evidence="closed and refused")
        self._turn.after(self._settings.suspect_s, "member", "drop", peer)
        self._watcher.member_suspended(peer)

    def _drop(self, peer: str, member: Member, evidence: str) -> None:
        member.state, member.suspended, member.greeted = DROPPED, True, False
        for timer in ("ttl", "quiet", "drop"):
            self._turn.timers.cancel(("member", timer, peer))
        self._turn.note("node.drop", node=member.profile.node.name, evidence=evidence)
        self._watcher.boot_ended(peer, member.profile.node.boot)
        self._changed()

    def goodbye(self, peer: str, message: Goodbye) -> None:
        """``node.leave``: believed at once, for that boot."""
        member = self.members.get(peer)
        if not member or member.state in (LEFT, "") or member.profile.node.boot != message.boot:
            return
        member.state, member.greeted = LEFT, False
        for timer in ("ttl", "quiet", "drop", "dial"):
            self._turn.timers.cancel(("member", timer, peer))
        self._turn.note("node.leave", node=member.profile.node.name)
        self._watcher.boot_ended(peer, message.boot)
        self._changed()

    def leave(self) -> None:
        """Say goodbye to everybody, by gossip and on every link."""
        word = Goodbye(self._describe().node.boot, self.incarnation)
        self._turn.gossip(self.topic(), word)
        for peer, member in self.members.items():
            if member.linked:
                self._turn.send(peer, word)

    # --- timers ------------------------------------------------------------------------------------------

    def due(self, what: str, peer: str) -> None:
        """A timer of this room fired."""
        member = self.members.get(peer)
        if what == "heartbeat":
            self._sequence += 1
            self._turn.gossip(self.topic(), Heartbeat(self._describe(), self._sequence))
            self._turn.after(self._jittered(self.interval_s()), "member", "heartbeat")
            self._ping_next()
        elif what == "contacts" and not self.joined:
            self._dial_contacts()
        elif what == "join" and not self.joined:
            self._join_late()
        elif what == "book":
            self._persist_book()
        elif what == "hello" and peer in self._greetings:
            self._turn.do(Hangup(peer))
        elif member is not None:
            self._member_due(what, peer, member)

    def _member_due(self, what: str, peer: str, member: Member) -> None:
        if what == "dial":
            self._dial(peer, member)
        elif what == "quiet" and member.linked and not member.silent and len(self._present) > 1:
            self._turn.count("deaf_redials")
            self._turn.do(Hangup(peer))
        elif what == "ttl" and member.state in (ALIVE, SUSPECT):
            self._drop(peer, member, "no heartbeat for its TTL")
        elif what == "drop" and member.state == SUSPECT:
            self._drop(peer, member, "closed and refused")

    def _join_late(self) -> None:
        if self._must_join:
            self._turn.do(Joined(f"no node answered at {', '.join(self._contacts)}"))
        else:
            self._join()

    def _persist_book(self) -> None:
        lines = [a for p in self._present if p in self.members for a in self.members[p].profile.addresses]
        self._turn.do(Persist("book", "\n".join(lines).encode()))
