"""How a node becomes part of a mesh, and how it takes others in: contacts, hellos, the first sync.

Owns hellos under way and this node's own joining; who is alive is ``membership``'s. On every new link both
sides say hello. A newcomer's hello is answered with the records it should have and the list of members, and
handed on to the others. It has joined when it has met those members (or cannot), so that its view is whole; a
node that was given no contact has joined at once.

    (contacts) --a hello is answered by a welcome--> meeting --all met, or settle_s--> joined
    (contacts) --nobody for join_s--> joined alone, and still dialling them while it is (they came from the
                                      address book), or the failure is told (they came from tickets)

A hello is answered by a refusal, with its reason, where the node cannot be taken in. One in another version of
the protocol cannot be read: who only meets such nodes until ``join_s`` is over is told so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from falak.core.effects import Dial, Hangup, Joined
from falak.core.events import Begin, DialFailed, LinkDown, LinkUp, OtherVersion
from falak.core.membership import Membership
from falak.core.model import Profile
from falak.core.settings import CELL_MAX, PROTOCOL_VERSION, Settings
from falak.core.turn import Turn
from falak.core.wire import Hello, HelloRefused, Introduced, Welcome

CONTACT_AGAIN_S = 1.0
"""A contact that has not answered is dialled and greeted again after about this long."""


class Host(Protocol):
    """Who is told of hellos: the node, which tells its rooms."""

    def met(self, peer: str, joining: bool) -> None:
        """A hello of the peer was accepted: it can be asked, and a member (not a newcomer) may have missed
        something while it was away."""

    def first_sync(self, peer: str, profile: Profile) -> None:
        """A newcomer is to be sent the records it should have."""

    def joined(self) -> None:
        """This node is part of the mesh from now on."""


class Joining:
    """The room. ``describe`` gives this node's current profile."""

    def __init__(
        self, turn: Turn, settings: Settings, members: Membership, describe: Callable[[], Profile], host: Host
    ) -> None:
        self._turn, self._settings, self._members = turn, settings, members
        self._describe, self._host = describe, host
        self._contacts: tuple[str, ...] = ()
        self._must_join = False
        self._overdue: dict[str, None] = {}
        self._askers: dict[str, None] = {}
        self._to_meet: dict[str, None] = {}
        self._answered = ""
        self._foreign = ""

    # --- this node's own joining -------------------------------------------------------------------------

    def begin(self, event: Begin) -> None:
        """Start: dial the contacts, or start a mesh alone."""
        self._contacts, self._must_join = event.contacts, event.must_join
        if not event.contacts:
            self._join()
            return
        self._turn.after(self._settings.join_s, "joining", "deadline")
        self._dial_contacts()

    def _dial_contacts(self) -> None:
        for address in self._contacts:
            self._turn.do(Dial("", address))
        for peer in list(self._members.links):
            self._greet(peer)  # it may have answered everything but the first sync
        wait_s = self._settings.redial_max_s if self._members.joined else CONTACT_AGAIN_S
        self._turn.after(self._members.jittered(wait_s), "joining", "contacts")

    def welcome(self, peer: str, message: Welcome) -> None:
        """The first sync was answered: meet everybody."""
        new = [other for other in map(self._members.told_of, message.members) if other]
        for other in new:
            self._members.dial(other)
        if self._members.joined:
            return
        self._answered = peer
        self._to_meet.update(dict.fromkeys(new))
        self._turn.after(self._settings.settle_s, "joining", "settle")
        self._met("")

    def _met(self, peer: str) -> None:
        self._to_meet.pop(peer, None)
        if self._answered and not self._to_meet:
            self._join()

    def _join(self, alone: bool = False) -> None:
        if self._members.joined:
            return
        self._members.joined = True
        self._to_meet.clear()
        for what in ("deadline", "contacts", "settle"):
            self._turn.timers.cancel(("joining", what))
        self._turn.do(Joined(alone=alone))
        if alone:
            self._dial_contacts()
        self._host.joined()
        askers, self._askers = self._askers, {}
        for peer in askers:
            if peer in self._members.links:
                self._take_in(peer)

    def _give_up(self) -> None:
        if not self._must_join:
            self._join(alone=True)
            return
        if self._foreign:
            self._turn.do(Joined(self._foreign, refused=True))
            return
        met = [self._members.name_of(peer) for peer in self._members.links]
        if met:
            why = f"{', '.join(met)} answered, but cannot take this node in: not part of a mesh themselves"
        else:
            why = f"no node answered at {', '.join(self._contacts)}: is one running there, and reachable?"
        self._turn.do(Joined(why))

    def hello_refused(self, peer: str, message: HelloRefused) -> None:
        """The peer will not have us: say so where someone waits for the join."""
        self._turn.count("hello_was_refused")
        if not self._members.joined:
            why = f"{self._members.name_of(peer)} refused this node: {message.reason}"
            self._turn.do(Joined(why, refused=True))

    def other_version(self, event: OtherVersion) -> None:
        """What the peer says cannot be read, nor ours by it. Another contact may still take this node in."""
        self._turn.count("other_version")
        self._foreign = (
            f"{self._members.name_of(event.peer)} speaks version {event.version} of the protocol between nodes, "
            f"this node version {PROTOCOL_VERSION}: run the same version of Falak on both"
        )

    # --- hellos ------------------------------------------------------------------------------------------

    def link_up(self, event: LinkUp) -> None:
        """Greet a peer on its new link; its own hello is due within ``hello_s``."""
        self._overdue[event.peer] = None
        self._turn.after(self._settings.hello_s, "joining", "hello", event.peer)
        self._greet(event.peer)

    def link_down(self, event: LinkDown) -> None:
        """Nothing is due from it any more."""
        self._overdue.pop(event.peer, None)
        self._askers.pop(event.peer, None)
        self._turn.timers.cancel(("joining", "hello", event.peer))

    def dial_failed(self, event: DialFailed) -> None:
        """Whoever cannot be met is not waited for."""
        self._met(event.peer)

    def _greet(self, peer: str) -> None:
        known = self._members.members.get(peer)
        joining = not self._members.joined and not self._answered
        if known is None:
            self._turn.send(peer, Hello(self._describe(), joining))
        else:
            last = known.profile
            flapping = self._members.flapping(peer)
            self._turn.send(peer, Hello(self._describe(), joining, last.incarnation, last.node.boot, flapping))

    def hello(self, peer: str, message: Hello) -> None:
        """A peer says who it is: take it in, or refuse it with a reason (and close its link once its hello is
        overdue)."""
        why = self._objection(peer, message.profile)
        if why:
            self._turn.count("hello_refused")
            self._turn.send(peer, HelloRefused(why))
            return
        profile, mine = message.profile, self._describe()
        if message.heard_boot not in (0, mine.node.boot) and message.heard_incarnation >= mine.incarnation:
            self._members.rise(message.heard_incarnation)
            self._greet(peer)
        known = self._members.members.get(peer)
        if known and self._members.outdated(known, profile):
            self._greet(peer)  # it does not know yet that we saw a later run of it
            return
        self._overdue.pop(peer, None)
        self._turn.timers.cancel(("joining", "hello", peer))
        self._members.heard(peer, profile)
        self._members.greeted(peer)
        self._members.losses.told(peer, message.flapping)
        self._host.met(peer, message.joining)
        if message.joining and self._members.joined:
            self._take_in(peer)
        elif message.joining:
            self._askers[peer] = None
        self._met(peer)

    def _objection(self, peer: str, profile: Profile) -> str:
        mine = self._describe().node
        if profile.node.id != peer:
            return "its hello names another node than its link does"
        if profile.node.cluster != mine.cluster:
            return f"the nodes here are of cluster {mine.cluster}, it is of {profile.node.cluster}"
        if self._members.is_full(peer):
            return f"the cell is full: {CELL_MAX} nodes, and joining several cells is not possible yet"
        return ""

    def _take_in(self, peer: str) -> None:
        """Introduce a newcomer to everybody, and give it the records it should have and the members."""
        profile = self._members.profile_of(peer)
        if profile is None:
            return
        others = [other for other in self._members.present() if other not in (peer, self._turn.me)]
        for other in others:
            if self._members.reachable(other):
                self._turn.send(other, Introduced(profile))
        self._host.first_sync(peer, profile)
        known = [self._describe(), *(p for p in map(self._members.profile_of, others) if p)]
        usable = [p for p in known if self._members.usable(p.node.id)]
        self._turn.send(peer, Welcome(tuple(usable)))

    def introduced(self, message: Introduced) -> None:
        """Somebody told us of a newcomer: it dials us."""
        peer = self._members.told_of(message.profile)
        if peer:
            self._members.dial_soon(peer)
        else:
            self._members.seek(message.profile.node.id)

    # --- timers ------------------------------------------------------------------------------------------

    def due(self, what: str, peer: str) -> None:
        """A timer of this room fired."""
        if what == "hello" and peer in self._overdue:
            self._turn.do(Hangup(peer))
        elif what == "settle":
            self._join()
        elif what == "contacts" and (not self._members.joined or len(self._members.present()) == 1):
            self._dial_contacts()
        elif what == "deadline" and not self._members.joined:
            self._give_up()
