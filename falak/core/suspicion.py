"""What speaks against a member, who says so, and when it is believed: from the first doubt to ``node.drop``.

Owns evidence: this node's own, and the accusations of the subject's watchers. It keeps no list of members
(``membership`` does) and never ends a link. Every node watches its three neighbours on each side of the ring of ids
(native exchanges beats with them). Evidence is

- *closed*: the link closed, and nobody listens or another identity answers at each address. It suspends at once.
- *silent*: no beat for 1 s on an open link, or a closed link that did not come back for ``unheard_s``.

Either is asked about: two other members are to say within ``PROBE_S`` whether they hear the subject. One that does
vouches for it: it is *unreachable from here*, not suspect, and asked about again after ``ASK_AGAIN_S``. If nobody
does (or there is nobody to ask) silence suspends too.

    a watcher's evidence --gossiped, again every second--> an accusation, of this boot and incarnation
    two watchers' accusations (one in a cell of fewer than four) --> suspect here as well
    suspect --its own higher incarnation, its hello, its pong, its beats, its later heartbeat--> alive
    suspect --unrefuted for 1 s (closed) or 10 s (silent), with the watchers' reports down to 0.5 s or 4 s--> dropped

Accusations by others than the subject's watchers, or of another incarnation, are counted and ignored. A node whose
loop stalled, or whose watched links all fell silent, doubts itself for ``DOUBT_S``: it takes its silences back,
begins no new ones, and asks again afterwards.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from falak.core.effects import Beat
from falak.core.member import Member
from falak.core.model import ALIVE, SUSPECT
from falak.core.rendezvous import neighbours
from falak.core.settings import CELL_MAX, SMALL_CELL, Settings
from falak.core.turn import Turn
from falak.core.wire import Accused, Probe, Probed

if TYPE_CHECKING:
    from falak.core.membership import Membership

Kind = Literal["closed", "silent"]
CLOSED: Final = "closed"
SILENT: Final = "silent"

EACH_SIDE: Final = 3
"""Neighbours watched on each side of the ring. Larger: more beats, more independent reports."""
ACCUSERS_MAX: Final = 4 * EACH_SIDE
"""Accusations kept of one member: it has six watchers, and six more while views of the ring differ."""
QUORUM_MAX: Final = 3
"""Reports with which a drop comes soonest; a majority of the watchers where they are fewer than five."""
HELPERS: Final = 2
"""Members asked whether they hear one that is silent."""
PROBE_S: Final = 0.5
"""What they have to answer. Larger: fewer false suspicions of slow nodes. Smaller: a silent holder is left sooner."""
PONG_S: Final = 0.4
"""What the subject has to answer a member that was asked: less than the asker waits."""
PROBES_MAX: Final = 2 * CELL_MAX
"""Questions of others that wait for a pong here; one more is not answered, and counted."""
ASK_AGAIN_S: Final = 5.0
"""A member that others hear and this node does not is asked about again after this long."""
VOUCHED_S: Final = 15.0
"""While it is this long or less since another member heard it, a refusal here is asked about before it suspends."""
ACCUSE_AGAIN_S: Final = 1.0
"""An accusation is repeated this often until it is refuted, or the subject dropped: gossip gets lost."""
CURE_STANDS_S: Final = 2.0
"""Who answered for itself is not suspected again for this long on others' accusations of that incarnation."""
LAST_WORDS_S: Final = 0.5
"""A heartbeat that comes so soon after the evidence may have been said before it."""
STALL_S: Final = 0.5
"""A loop that stood still for longer makes this node doubt itself."""
DOUBT_S: Final = 2.0
"""For so long. Larger: fewer false accusations by busy nodes. Smaller: silence is seen sooner after a stall."""


class Case(msgspec.Struct):
    """What speaks against one incarnation of a member. ``own``: this node's evidence ("" for none); ``accusers``: its
    watchers and what they say; ``since``: when it became suspect, 0 before."""

    boot: int
    incarnation: int
    own: str = ""
    text: str = ""
    accusers: dict[str, str] = msgspec.field(default_factory=dict)
    since: float = 0.0


class Ask(msgspec.Struct):
    """Members asked about one that is not heard, and those of them that did not answer yet."""

    helpers: tuple[str, ...]
    waiting: list[str]


def quorum_of(watchers: int) -> int:
    """Reports that make a drop certain: three watchers, a majority of them if they are fewer than five."""
    return min(QUORUM_MAX, watchers // 2 + 1)


def drop_after_s(slowest_s: float, fastest_s: float, reports: int, quorum: int) -> float:
    """How long a suspicion stands unrefuted before the drop: falls with the logarithm of the independent reports from
    ``slowest_s`` (one) to ``fastest_s`` (``quorum`` of them), after Lifeguard (Dadgar, Phillips, Currey, 2017)."""
    if quorum <= 1:
        return slowest_s
    share = min(1.0, log(max(1, reports)) / log(quorum))
    return slowest_s - share * (slowest_s - fastest_s)


class Suspicion:
    """The room. It tells ``Membership`` whom to suspect, cure and drop."""

    def __init__(self, turn: Turn, settings: Settings, members: Membership) -> None:
        self._turn, self._settings, self._members = turn, settings, members
        self._cases: dict[str, Case] = {}
        self._asks: dict[str, Ask] = {}
        self._probes: dict[tuple[str, str], None] = {}
        self.doubt_until = 0.0
        self.awake_at = 0.0

    def sizes(self) -> dict[str, tuple[int, int]]:
        """What is kept here and its limit, by name."""
        most = max((len(case.accusers) for case in self._cases.values()), default=0)
        return {
            "members suspected": (len(self._cases), CELL_MAX),
            "accusers of one member": (most, ACCUSERS_MAX),
            "members asked about": (len(self._asks), CELL_MAX),
            "probes of others": (len(self._probes), PROBES_MAX),
        }

    # --- the ring ----------------------------------------------------------------------------------------

    def watch_ring(self) -> None:
        """Exchange beats with the nearest members that are linked, met and not suspect; go on with a silent suspect,
        so that its return is heard."""
        members, me = self._members.members, self._turn.me
        linked = [peer for peer in self._members.present() if peer != me and members[peer].linked]
        fit = [peer for peer in linked if members[peer].greeted and members[peer].state == ALIVE]
        ring = neighbours(me, fit, EACH_SIDE)
        for peer in linked:
            member = members[peer]
            wanted = peer in ring or (member.beating and member.state == SUSPECT)
            if wanted != member.beating:
                member.beating = wanted
                member.silent = member.silent and wanted
                self._turn.do(Beat(peer, wanted))

    def watchers_of(self, subject: str) -> tuple[str, ...]:
        """Who may accuse a member: its neighbours on the ring, with and without those that are suspect now."""
        present, members = self._members.present(), self._members.members
        fit = [peer for peer in present if peer == self._turn.me or members[peer].state == ALIVE]
        near = neighbours(subject, present, EACH_SIDE)
        return near if len(fit) == len(present) else (*near, *neighbours(subject, fit, EACH_SIDE))

    # --- this node's own health --------------------------------------------------------------------------

    def stalled(self, seconds: float) -> None:
        """Our loop stood still: what we did not hear is our own fault. Deadlines of others begin anew."""
        if seconds <= STALL_S:
            return
        self.awake_at = self._turn.now
        for peer, case in self._cases.items():
            if case.since:
                case.since = self._turn.now
                self._set_drop(peer, case)
        if len(self._members.present()) > 1:
            self._doubt(f"its loop stood still for {seconds:.1f} s")

    def doubts_itself(self) -> bool:
        """Whether this node takes its own silences for its own fault."""
        return self._turn.now < self.doubt_until

    def _doubt(self, why: str) -> None:
        if not self.doubts_itself():
            self._turn.note("node.doubt", reason=why)
        self.doubt_until = self._turn.now + DOUBT_S
        self._turn.after(DOUBT_S, "suspicion", "doubt")
        for peer in list(self._asks):
            self._end_ask(peer)
        for peer, case in list(self._cases.items()):
            if case.own == SILENT:
                case.own = ""
                self._weigh(peer, "this node doubts itself")

    def _doubt_over(self) -> None:
        for peer in self._members.present():
            member = self._members.members.get(peer)
            if member and self._is_unheard(member):
                self._ask(peer)

    @staticmethod
    def _is_unheard(member: Member) -> bool:
        return member.greeted and (member.silent or not member.linked)

    def _hears_nobody(self) -> bool:
        """All that this node watches is silent, and it is more than one node."""
        refused = [peer for peer, case in self._cases.items() if case.own == CLOSED]  # an answer, too
        every = self._members.members.items()
        known = [m for p, m in every if m.greeted and m.state in (ALIVE, SUSPECT) and p not in refused]
        watched = [m for m in known if m.beating] or known
        return len(watched) > 1 and all(self._is_unheard(member) for member in watched)

    # --- evidence of our own -----------------------------------------------------------------------------

    def refused(self, peer: str, member: Member, text: str) -> None:
        """Its link closed, and at each address it is refused, or another identity answers."""
        if self._turn.now - member.vouched_at <= VOUCHED_S:
            self._ask(peer)
            return
        case = self._case(peer, member)
        if case.own == CLOSED:
            return
        case.own, case.text = CLOSED, text
        self._weigh(peer)
        self._ask(peer)

    def silent(self, peer: str, on: bool) -> None:
        """Native saw no beat for a while, or one again."""
        member = self._members.members.get(peer)
        if member is None or not member.beating:
            return
        only_silent, member.silent = member.silent and member.state != SUSPECT, on
        if not on:
            self.cure(peer, "its beats are back")
            if only_silent:
                self._members.watcher.member_back(peer)
            return
        self._members.watcher.member_unlinked(peer)
        self.unheard(peer)

    def unheard(self, peer: str) -> None:
        """A member is silent, or its link is gone for a while: whose fault is it?"""
        member = self._members.members.get(peer)
        if member is None or member.state not in (ALIVE, SUSPECT) or not self._is_unheard(member):
            return
        known = self._cases.get(peer)
        if self.doubts_itself() or (known and known.own):
            return
        if self._hears_nobody() and self._turn.now - self.doubt_until > DOUBT_S:
            self._doubt("it hears nobody")
        else:
            self._ask(peer)

    def _ask(self, peer: str) -> None:
        if peer in self._asks:
            return
        others = [p for p in self._members.present() if p not in (peer, self._turn.me)]
        able = [p for p in others if self._members.reachable(p)]
        helpers = tuple(self._turn.rng.sample(able, min(HELPERS, len(able))))
        self._asks[peer] = Ask(helpers, list(helpers))
        for helper in helpers:
            self._turn.send(helper, Probe(peer))
        if helpers:
            self._turn.after(PROBE_S, "suspicion", "asked", peer)
        else:
            self._conclude(peer)

    def _end_ask(self, peer: str) -> None:
        self._asks.pop(peer, None)
        self._turn.timers.cancel(("suspicion", "asked", peer))

    def probed(self, peer: str, message: Probed) -> None:
        """What a member that we asked says."""
        ask = self._asks.get(message.subject)
        if ask is None or peer not in ask.waiting:
            self._turn.count("probed_odd")
            return
        ask.waiting.remove(peer)
        if message.heard:
            self._vouched(message.subject, peer)
        elif not ask.waiting:
            self._conclude(message.subject)

    def _vouched(self, peer: str, helper: str) -> None:
        """It is only unreachable from here."""
        self._end_ask(peer)
        member, case = self._members.members[peer], self._cases.get(peer)
        member.vouched_at = self._turn.now
        if case:
            case.own = ""
            self._weigh(peer, f"{self._members.name_of(helper)} hears it")
        self._turn.after(ASK_AGAIN_S, "suspicion", "unheard", peer)

    def _conclude(self, peer: str) -> None:
        """Nobody that was asked hears it."""
        ask = self._asks[peer]
        self._end_ask(peer)
        member = self._members.members.get(peer)
        if member is None or member.state not in (ALIVE, SUSPECT) or not self._is_unheard(member):
            return
        case = self._case(peer, member)
        if case.own:
            return
        names = ", ".join(map(self._members.name_of, ask.helpers))
        how = "silent" if member.linked else "its link is gone"
        case.own, case.text = SILENT, f"{how}, and {names} cannot hear it" if names else how
        self._weigh(peer)

    # --- questions of others -----------------------------------------------------------------------------

    def probe(self, peer: str, message: Probe) -> None:
        """A member asks whether we hear another one: ask that one now."""
        subject = self._members.members.get(message.subject)
        if not self._members.usable(peer):
            self._turn.count("probe_of_stranger")
        elif message.subject == self._turn.me:
            self._turn.send(peer, Probed(message.subject, True))
        elif subject is None or not subject.linked:
            self._turn.send(peer, Probed(message.subject, False))
        elif len(self._probes) >= PROBES_MAX:
            self._turn.count("probes_beyond_limit")
        else:
            self._probes[(message.subject, peer)] = None
            self._members.trips.measure(message.subject)
            self._turn.after(PONG_S, "suspicion", "pong", message.subject, peer)

    def _answer(self, subject: str, heard: bool) -> None:
        for about, asker in [key for key in self._probes if key[0] == subject]:
            del self._probes[(about, asker)]
            self._turn.timers.cancel(("suspicion", "pong", about, asker))
            if heard or not self.doubts_itself():
                self._turn.send(asker, Probed(subject, heard))

    def answered(self, peer: str) -> None:
        """A member answered us just now: it lives."""
        self._answer(peer, True)
        self.cure(peer, "it answers")

    def unlinked(self, peer: str) -> None:
        """A link closed: nobody is answered through it, and the member has ``unheard_s`` to be back."""
        self._answer(peer, False)
        self._turn.after(self._members.jittered(self._settings.unheard_s), "suspicion", "unheard", peer)

    # --- accusations -------------------------------------------------------------------------------------

    def accused(self, peer: str, message: Accused) -> None:
        """A watcher's gossip. Believed only of the subject's watchers, and of the incarnation known here."""
        accuser, subject = self._members.members.get(peer), message.subject
        member = self._members.members.get(subject)
        if accuser is None or accuser.state != ALIVE:
            self._turn.count("accusation_of_stranger")
        elif subject == self._turn.me:
            self._members.refute(peer, message)
        elif (
            member is None
            or member.state not in (ALIVE, SUSPECT)
            or (message.boot, message.incarnation) != (member.profile.node.boot, member.profile.incarnation)
        ):
            self._turn.count("accusation_outdated")
        elif peer not in self.watchers_of(subject):
            self._turn.count("accusation_by_no_watcher")
        elif self._turn.now - member.cured_at < CURE_STANDS_S:
            self._turn.count("accusation_answered")
        else:
            case = self._case(subject, member)
            if peer in case.accusers or len(case.accusers) < ACCUSERS_MAX:
                case.accusers[peer] = message.kind
            self._weigh(subject)

    def _case(self, peer: str, member: Member) -> Case:
        boot, incarnation = member.profile.node.boot, member.profile.incarnation
        case = self._cases.get(peer)
        if case is None or (case.boot, case.incarnation) != (boot, incarnation):
            case = self._cases[peer] = Case(boot, incarnation)
        return case

    def _weigh(self, peer: str, otherwise: str = "") -> None:
        """Suspect it if there is enough against it now; cured, for the reason ``otherwise``, if there no longer is."""
        member, case = self._members.members[peer], self._cases[peer]
        enough = 1 if len(self._members.present()) < SMALL_CELL else 2
        if not case.own and len(case.accusers) < enough:
            if case.since:
                self.cure(peer, otherwise, False)
            return
        if not case.since:
            case.since = self._turn.now
        if member.state == ALIVE:
            self._members.suspect(peer, member, self._text(case), self._names(case))
            self.watch_ring()
        self._set_drop(peer, case)
        if case.own and not self._turn.timers.has(("suspicion", "accuse", peer)):
            self._accuse(peer)
        elif not case.own and not self._turn.timers.has(("suspicion", "ping", peer)):
            self._ping(peer)

    def _names(self, case: Case) -> tuple[str, ...]:
        accusers = sorted(map(self._members.name_of, case.accusers))
        return tuple([*([self._members.name_of(self._turn.me)] if case.own else []), *accusers])

    @staticmethod
    def _text(case: Case) -> str:
        said = sorted(set(case.accusers.values()))  # sorted: a set of two words
        return case.text if case.own else f"{' and '.join(said)}, its watchers say"

    def _set_drop(self, peer: str, case: Case) -> None:
        watchers = min(2 * EACH_SIDE, len(self._members.present()) - 1)
        reports = len({*case.accusers, *([self._turn.me] if case.own else [])})
        closed = sum(1 for kind in case.accusers.values() if kind == CLOSED)
        s = self._settings
        if case.own == CLOSED or closed > len(case.accusers) / 2:
            wait = drop_after_s(s.suspect_s, s.suspect_least_s, reports, quorum_of(watchers))
        else:
            wait = drop_after_s(s.silent_s, s.silent_least_s, reports, quorum_of(watchers))
        self._turn.after(max(0.0, case.since + wait - self._turn.now), "suspicion", "drop", peer)

    def _accuse(self, peer: str) -> None:
        """Tell the others while there is evidence of our own, if it is ours to watch it."""
        case, member = self._cases.get(peer), self._members.members.get(peer)
        if case is None or member is None or member.state != SUSPECT or not case.own:
            return
        if self._turn.me in self.watchers_of(peer):
            kind: Kind = "closed" if case.own == CLOSED else "silent"
            self._turn.gossip(self._members.topic(), Accused(peer, case.boot, case.incarnation, kind))
            self._turn.after(ACCUSE_AGAIN_S, "suspicion", "accuse", peer)

    def _ping(self, peer: str) -> None:
        """Others accuse it and this node has nothing against it: let it answer for itself."""
        case, member = self._cases.get(peer), self._members.members.get(peer)
        if case and case.since and not case.own and member and member.linked:
            self._members.trips.measure(peer)
            self._turn.after(ACCUSE_AGAIN_S, "suspicion", "ping", peer)

    # --- ends --------------------------------------------------------------------------------------------

    def is_late(self, peer: str, incarnation: int) -> bool:
        """Whether a suspect's heartbeat may have been said before it fell silent."""
        case = self._cases.get(peer)
        same = case is not None and case.since > 0 and incarnation == case.incarnation
        return same and case is not None and self._turn.now - case.since < LAST_WORDS_S

    def cure(self, peer: str, how: str, first_hand: bool = True) -> None:
        """It lives, for the reason ``how``: nothing that was said of it until now stands."""
        member = self._members.members.get(peer)
        self.forget(peer)
        if member is None:
            return
        if self._is_unheard(member):
            self._turn.after(ASK_AGAIN_S, "suspicion", "unheard", peer)
        if member.state == SUSPECT:
            member.cured_at = self._turn.now if first_hand else member.cured_at
            self._members.back(peer, member, how)
            self.watch_ring()

    def forget(self, peer: str) -> None:
        """Its run is over, or it is cured: no evidence, no timer of it is left."""
        self._cases.pop(peer, None)
        self._end_ask(peer)
        for what in ("drop", "accuse", "ping", "unheard"):
            self._turn.timers.cancel(("suspicion", what, peer))

    def due(self, what: str, peer: str = "", asker: str = "") -> None:
        """A timer of this room fired."""
        if what == "doubt":
            self._doubt_over()
        elif what == "asked":
            self._conclude(peer)
        elif what == "pong":
            self._pong_missed(peer, asker)
        elif what == "unheard":
            self.unheard(peer)
        elif what == "accuse":
            self._accuse(peer)
        elif what == "ping":
            self._ping(peer)
        elif what == "drop":
            self._drop(peer)

    def _pong_missed(self, subject: str, asker: str) -> None:
        if (subject, asker) in self._probes:
            del self._probes[(subject, asker)]
            if not self.doubts_itself():
                self._turn.send(asker, Probed(subject, False))

    def _drop(self, peer: str) -> None:
        member, case = self._members.members.get(peer), self._cases.get(peer)
        if member and case and member.state == SUSPECT:
            self._members.drop(peer, member, self._text(case), self._names(case))
