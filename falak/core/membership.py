"""Who is a member, who is alive, who is suspect, dropped or gone on purpose. Owns links and heartbeats.

What it never does: look at capsules, take newcomers in (``joining`` does), or judge evidence (``suspicion`` does).
Others hear of changes through ``Watcher``. States of a member, as ``falak nodes`` shows them:

    (heard of) --hello or heartbeat--> alive
    alive   --evidence of our own, or two watchers' accusations--> suspect --unrefuted for a while--> dropped
    alive, suspect --no heartbeat for its TTL (and no pong, where its link stands)--> dropped
    alive, suspect --goodbye--> left
    suspect --it answers, beats, says hello, or refutes; another member hears it--> alive
    dropped --hello or heartbeat of that boot, or of a newer one--> alive
    left    --hello or heartbeat of a newer boot--> alive

A suspect is also *suspended*: what it claims is not listed and protects no slot. A request that could not be
handed to a member suspends it too, without suspicion, until it is heard again. A member that has no link, or sends
no beats over it, is not suspect for that alone, but it is not *reachable* from here: nothing is asked of it, while
others may. A member whose link is open but whose heartbeats stay away is hung up on and redialled once before its
TTL ends (it may have gone deaf).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from falak.core.book import Book
from falak.core.effects import Beat, Dial, Hangup, Persist, Subscribe
from falak.core.events import Begin, DialFailed, LinkDown, LinkUp
from falak.core.losses import Losses
from falak.core.member import Member, Watcher
from falak.core.model import ALIVE, DROPPED, LEFT, SUSPECT, Capacity, Profile
from falak.core.roundtrips import RoundTrips
from falak.core.settings import CELL_MAX, Settings, heartbeat_interval_s
from falak.core.suspicion import Suspicion
from falak.core.turn import Turn
from falak.core.wire import Accused, Goodbye, Heartbeat, Pong

KNOWN_MAX: Final = 4 * CELL_MAX
"""Nodes remembered, dropped and left ones included; beyond it the one that is gone longest is forgotten."""
DIAL_SOON_S: Final = 0.5
"""A member that we only heard of usually dials us; after about this long we dial it."""
SEEK_S: Final = 5.0
"""A node that others see is dialled for that at most this often, besides its back-off."""
BOOK_S: Final = 0.1
"""The address book is on disk so long after it changed. Larger: fewer writes while many join. Smaller: a node that
is killed right then finds its mesh again."""
URGENT_S: Final = 2.0
"""At most one heartbeat beside the regular ones in this time: what refutes accusations."""

REFUSED: Final = "closed and refused"
ANSWERED: Final = "closed, and another node answers at its address"


class Membership:
    """The room. ``describe`` gives this node's current profile. ``joined``: this node is part of the mesh."""

    def __init__(
        self, turn: Turn, settings: Settings, describe: Callable[[], Profile], watcher: Watcher
    ) -> None:
        self._turn, self._settings, self._describe, self.watcher = turn, settings, describe, watcher
        self.book = Book(turn)
        self.members: dict[str, Member] = {}
        self.trips = RoundTrips(turn, settings, self.members)
        self.links: dict[str, None] = {}
        self.incarnation = 1
        self.addresses: tuple[str, ...] = ()
        self.joined = False
        self._sequence = 0
        self._urgent_at = -URGENT_S
        self._present: tuple[str, ...] = (turn.me,)
        self.losses = Losses(turn)
        self.suspicion = Suspicion(turn, settings, self)

    # --- what others ask ---------------------------------------------------------------------------------

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Members present and nodes remembered, and their limits."""
        own = {"members": (len(self._present), CELL_MAX), "nodes known": (len(self.members), KNOWN_MAX)}
        return own | {"losses": (self.losses.size(), KNOWN_MAX)} | self.suspicion.sizes()

    def present(self) -> tuple[str, ...]:
        """Members that are not dropped and did not leave, this node included, sorted."""
        return self._present

    def usable(self, peer: str) -> bool:
        """Whether a member's claims are listed and its votes counted on."""
        if peer == self._turn.me:
            return True
        member = self.members.get(peer)
        return member is not None and member.state == ALIVE and not member.suspended

    def is_doubted(self, peer: str) -> bool:
        """Whether all that speaks against a member is that something could not be handed to it from here."""
        member = self.members.get(peer)
        return member is not None and member.state == ALIVE and member.suspended

    def reachable(self, peer: str) -> bool:
        """Whether something can be asked of a member from here."""
        if peer == self._turn.me:
            return True
        member = self.members.get(peer)
        return member is not None and self.usable(peer) and member.linked and not member.silent

    def preserving(self) -> bool:
        """Whether more than a third of the cell was dropped within a minute: only requests set elections off."""
        return self.losses.preserving(len(self._present))

    def flapping(self, peer: str) -> bool:
        """Whether a member, or this node, was dropped so often of late that it is no candidate for a while."""
        if peer == self._turn.me:
            return self.losses.flaps_itself(len(self._present))
        return self.losses.flapping(peer)

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

    def interval_s(self) -> float:
        """Seconds between this node's heartbeats now."""
        return heartbeat_interval_s(self._settings, len(self._present))

    def pong(self, peer: str, message: Pong) -> None:
        """A peer answered a ping: it lives, and this is how far it is."""
        if self.trips.pong(peer, message):
            self.suspicion.answered(peer)
            if self._turn.timers.has(("member", "last", peer)):
                self._turn.timers.cancel(("member", "last", peer))
                self._turn.after(self.interval_s(), "member", "ttl", peer)

    # --- links -------------------------------------------------------------------------------------------

    def begin(self, event: Begin) -> None:
        """Start: hear heartbeats, and send them."""
        self.book.begin(event.contacts)
        self.incarnation, self.addresses = event.incarnation, event.addresses
        self._turn.do(Subscribe(self.topic()))
        self._turn.do(Persist("incarnation", str(event.incarnation).encode()))
        self._turn.after(self._settings.heartbeat_s * self._turn.rng.random(), "member", "heartbeat")

    def topic(self) -> str:
        """The cluster's heartbeat topic."""
        return f"/falak/1/heartbeat/{self._describe().node.cluster}"

    def link_up(self, event: LinkUp) -> None:
        """A link was made, by whom ever."""
        self.links[event.peer] = None
        member = self.members.get(event.peer)
        if member:
            member.linked, member.dialling, member.tries, member.refusals = True, False, 0, 0
            for timer in ("dial", "dialled"):
                self._turn.timers.cancel(("member", timer, event.peer))
        if event.dialer:
            self._others_at(event)

    def _others_at(self, event: LinkUp) -> None:
        """Whoever was lost at an address that another identity answers at now is gone from there."""
        for peer, member in list(self.members.items()):
            if peer != event.peer and not member.linked and event.address in member.profile.addresses:
                why = "another node answers there"
                self.dial_failed(DialFailed(peer, event.address, False, why, event.peer))

    def link_down(self, event: LinkDown) -> None:
        """Dial again at once: a refusal is evidence, an answer the cure."""
        self.links.pop(event.peer, None)
        member = self.members.get(event.peer)
        if not member:
            return
        member.linked = member.beating = member.silent = False
        member.lost_at, member.tries, member.refusals, member.missed = self._turn.now, 0, 0, True
        self.suspicion.watch_ring()
        self.suspicion.unlinked(event.peer)
        if member.state != LEFT:
            self.dial(event.peer)
        self.watcher.member_unlinked(event.peer)

    def dial(self, peer: str) -> None:
        """See to it that there is a link with a known node."""
        member = self.members.get(peer)
        if member is None or member.linked or member.dialling or not member.profile.addresses:
            return
        self._turn.timers.cancel(("member", "dial", peer))
        member.dialling, member.dialled_at = True, self._turn.now
        addresses = member.profile.addresses
        self._turn.do(Dial(peer, addresses[member.tries % len(addresses)]))
        self._turn.after(self._settings.dial_s, "member", "dialled", peer)

    def dial_soon(self, peer: str) -> None:
        """The same, unless it dials us first."""
        member = self.members.get(peer)
        waits = self._turn.timers.has(("member", "dial", peer))
        if member and not member.linked and not member.dialling and not waits:
            self._turn.after(self.jittered(DIAL_SOON_S), "member", "dial", peer)

    def seek(self, peer: str) -> None:
        """Others see this node: if it is suspect let it answer, if there is no link dial it soon."""
        member = self.members.get(peer)
        if member is None:
            return
        if member.linked and member.state == SUSPECT:
            self.trips.measure(peer)
        elif not member.linked and not member.dialling and self._turn.now - member.dialled_at > SEEK_S:
            self._turn.after(self.jittered(DIAL_SOON_S), "member", "dial", peer)

    def dial_failed(self, event: DialFailed) -> None:
        """A member is suspect once nobody listens, or another identity answers, at each of its addresses; any
        failure is tried again with back-off."""
        member = self.members.get(event.peer)
        if not member:
            return
        member.dialling = False
        self._turn.timers.cancel(("member", "dialled", event.peer))
        member.tries += 1
        member.refusals += event.refused or bool(event.answered_by)
        if member.linked:
            return
        count = len(member.profile.addresses)
        if member.refusals >= count and member.state in (ALIVE, SUSPECT) and member.greeted:
            self.suspicion.refused(event.peer, member, ANSWERED if event.answered_by else REFUSED)
        if self._turn.now - member.lost_at > self._settings.redial_forget_s and event.peer not in self._present:
            self.book.forget(event.peer)
            self._forget(event.peer)
        elif member.tries < count:
            self.dial(event.peer)
        elif member.state != LEFT:
            base = self._settings.redial_first_s * 2.0 ** min(member.tries - count + 1, 20)
            wait = self.jittered(min(base, self._settings.redial_max_s))
            self._turn.after(wait, "member", "dial", event.peer)

    def jittered(self, seconds: float) -> float:
        """A wait that nodes do not have in step: 0.75 to 1.25 times the given one."""
        return seconds * (0.75 + 0.5 * self._turn.rng.random())

    # --- hearing of members ------------------------------------------------------------------------------

    def heartbeat(self, peer: str, message: Heartbeat) -> None:
        """A member's gossip: it lives, and this is what it has."""
        profile = message.profile
        known = self.members.get(peer)
        if profile.node.id != peer or profile.node.cluster != self._describe().node.cluster:
            self._turn.count("heartbeat_foreign")
        elif self.is_full(peer):
            self._turn.count("heartbeat_beyond_cell")
        elif known and self.outdated(known, profile):
            self._turn.count("heartbeat_outdated")
        elif known and known.state == SUSPECT and self.suspicion.is_late(peer, profile.incarnation):
            self._turn.count("heartbeat_late")
        else:
            self.heard(peer, profile)
            self.dial_soon(peer)

    def loaded(self, peer: str, capacity: Capacity) -> None:
        """A member's load came with a message: fresher than its heartbeat, so that rankings do not age."""
        member = self.members.get(peer)
        if member and capacity != member.profile.capacity:
            member.profile = replace(member.profile, capacity=capacity)

    def is_full(self, peer: str) -> bool:
        """Whether the cell has no room for this node."""
        return len(self._present) >= CELL_MAX and peer not in self._present

    def outdated(self, known: Member, profile: Profile) -> bool:
        """Whether a profile is older than what is known: of an earlier run, or of one that said goodbye."""
        if profile.node.boot == known.profile.node.boot:
            return profile.incarnation < known.profile.incarnation or known.state == LEFT
        return profile.incarnation <= known.profile.incarnation

    def told_of(self, profile: Profile) -> str:
        """Somebody told us of a node; it counts only once it was heard itself. Its id, if that is new."""
        peer = profile.node.id
        if peer == self._turn.me or peer in self.members or self.is_full(peer):
            return ""
        self._add(peer, profile)
        return peer

    def _add(self, peer: str, profile: Profile) -> Member:
        if len(self.members) >= KNOWN_MAX:
            gone = [other for other in self.members if other not in self._present]
            oldest = min(gone, key=lambda other: (self.members[other].heard_at, other))
            self._forget(oldest)
        now = self._turn.now
        member = self.members[peer] = Member(profile, "", now, linked=peer in self.links, lost_at=now)
        return member

    def heard(self, peer: str, profile: Profile) -> Member:
        """A node said this of itself, now: it is alive."""
        member = self.members.get(peer) or self._add(peer, profile)
        before, was = member.profile.node.boot, member.state
        if before != profile.node.boot:
            self.suspicion.forget(peer)
        elif was == SUSPECT:
            refuted = profile.incarnation > member.profile.incarnation
            how = f"it refutes, in incarnation {profile.incarnation}" if refuted else "it is heard again"
            self.suspicion.cure(peer, how)
        if was == DROPPED:
            self.losses.returned(peer)
        member.profile, member.heard_at, member.state = profile, self._turn.now, ALIVE
        ttl_s = self.interval_s() * self._settings.heartbeat_ttl_intervals
        self._turn.timers.cancel(("member", "last", peer))
        self._turn.after(ttl_s, "member", "ttl", peer)
        self._turn.after(ttl_s * 2 / 3, "member", "quiet", peer)
        member.evidence = ""
        if was in (ALIVE, SUSPECT) and before != profile.node.boot:
            self.watcher.boot_ended(peer, before)
            self._turn.note("node.join", node=profile.node.name, boot="restarted")
        elif was not in (ALIVE, SUSPECT):
            self._turn.note("node.join", node=profile.node.name)
            self._changed()
        if member.suspended:
            member.suspended = False
            self.watcher.member_back(peer)
        if was == DROPPED and member.greeted:
            self.suspicion.watch_ring()
        return member

    def _forget(self, peer: str) -> None:
        for timer in ("dial", "dialled"):
            self._turn.timers.cancel(("member", timer, peer))
        self.suspicion.forget(peer)
        self.losses.forget(peer)
        del self.members[peer]

    def _changed(self) -> None:
        present = [peer for peer, m in self.members.items() if m.state in (ALIVE, SUSPECT)]
        self._present = tuple(sorted([*present, self._turn.me]))
        if not self._turn.timers.has(("member", "book")):
            self._turn.after(BOOK_S, "member", "book")
        self.watcher.members_changed()

    def greeted(self, peer: str) -> None:
        """Its hello came over its own link: from now on it is watched."""
        member = self.members[peer]
        member.greeted, member.linked = True, peer in self.links
        self.trips.measure(peer)
        self.suspicion.watch_ring()

    # --- evidence against members ------------------------------------------------------------------------

    def unreachable(self, peer: str) -> None:
        """A request or message could not be handed over: suspend until it is heard again."""
        member = self.members.get(peer)
        if member and member.state == ALIVE and not member.suspended:
            member.suspended = True
            self.watcher.member_suspended(peer)

    def suspect(self, peer: str, member: Member, evidence: str, accusers: tuple[str, ...]) -> None:
        """There is enough against a member; ``accusers`` are the names of those who say so."""
        member.state, member.suspended, member.evidence = SUSPECT, True, evidence
        self._turn.note("node.suspect", node=member.profile.node.name, evidence=evidence, accusers=accusers)
        self.watcher.member_suspended(peer)

    def back(self, peer: str, member: Member, evidence: str) -> None:
        """A suspect lives."""
        member.state, member.suspended, member.evidence = ALIVE, False, ""
        self._turn.note("node.back", node=member.profile.node.name, evidence=evidence)
        self.watcher.member_back(peer)

    def drop(self, peer: str, member: Member, evidence: str, accusers: tuple[str, ...]) -> None:
        """It is certainly gone. A link that is open all the same stays; it is not watched any more."""
        member.state, member.suspended, member.greeted = DROPPED, True, member.linked
        member.evidence = evidence
        if member.beating:
            member.beating = member.silent = False
            self._turn.do(Beat(peer, False))
        self._turn.note("node.drop", node=member.profile.node.name, evidence=evidence, accusers=accusers)
        self._gone(peer, member, ("ttl", "last", "quiet"))
        self.losses.dropped(peer, len(self._present))

    def refute(self, peer: str, message: Accused) -> None:
        """A member accuses this node of being gone: say otherwise in a higher incarnation, that now counts for all.
        Accusations of another incarnation are old, or made up."""
        mine = self._describe()
        if (message.boot, message.incarnation) != (mine.node.boot, mine.incarnation):
            self._turn.count("accusation_outdated")
        elif not self._turn.timers.has(("member", "urgent")):
            self._turn.note("node.refute", accuser=self.name_of(peer), evidence=message.kind)
            self._turn.after(max(0.0, self._urgent_at + URGENT_S - self._turn.now), "member", "urgent")

    def _refuted(self) -> None:
        self._urgent_at = self._turn.now
        self.rise(self.incarnation)
        self._say()

    def rise(self, above: int) -> None:
        """Take an incarnation above one that is known of this node."""
        self.incarnation = above + 1
        self._turn.do(Persist("incarnation", str(above + 1).encode()))

    def goodbye(self, peer: str, message: Goodbye) -> None:
        """``node.leave``: believed at once, for that boot."""
        member = self.members.get(peer)
        if not member or member.state in (LEFT, "") or member.profile.node.boot != message.boot:
            return
        member.state, member.greeted = LEFT, False
        self._turn.note("node.leave", node=member.profile.node.name)
        self._gone(peer, member, ("ttl", "last", "quiet", "dial"))

    def _gone(self, peer: str, member: Member, timers: tuple[str, ...]) -> None:
        for timer in timers:
            self._turn.timers.cancel(("member", timer, peer))
        self.suspicion.forget(peer)
        self.watcher.boot_ended(peer, member.profile.node.boot)
        self._changed()
        self.suspicion.watch_ring()

    def leave(self) -> None:
        """Say goodbye to everybody, by gossip and on every link, and keep where they are for the next start."""
        self._persist_book()
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
            self._say()
            self._turn.after(self.jittered(self.interval_s()), "member", "heartbeat")
            self.trips.measure_next(self._sequence)
        elif what == "urgent":
            self._refuted()
        elif what == "book":
            self._persist_book()
        elif what == "dial":
            self.dial(peer)
        elif member is not None:
            self._member_due(what, peer, member)

    def _say(self) -> None:
        self._sequence += 1
        self._turn.gossip(self.topic(), Heartbeat(self._describe(), self._sequence))

    def _member_due(self, what: str, peer: str, member: Member) -> None:
        ttl_s = self.interval_s() * self._settings.heartbeat_ttl_intervals
        asleep_s = self.suspicion.awake_at + ttl_s * (2 / 3 if what == "quiet" else 1) - self._turn.now
        if (
            what in ("ttl", "last", "quiet") and asleep_s > 0
        ):  # we slept: what was not heard meanwhile says nothing
            self._turn.after(asleep_s, "member", what, peer)
        elif what == "dialled" and member.dialling:
            self.dial_failed(DialFailed(peer, "", False, "nothing was heard of it"))
        elif what == "quiet" and member.linked and not member.silent:
            self._turn.count("deaf_redials")
            self._turn.do(Hangup(peer))
        elif what == "ttl" and member.state == ALIVE and member.linked and not member.silent:
            self.trips.measure(peer)  # its link stands and it beats: gossip may have failed it, not it us
            self._turn.after(ttl_s / 3, "member", "last", peer)
        elif what in ("ttl", "last") and member.state in (ALIVE, SUSPECT):
            self.drop(peer, member, "no heartbeat for its TTL", (self.name_of(self._turn.me),))

    def _persist_book(self) -> None:
        for peer, member in sorted(self.members.items()):
            if member.state:  # not only heard of
                self.book.met(peer, member.profile.addresses)
        self.book.write()
