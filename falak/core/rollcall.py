"""Views of who is there, held equal: digests of the members, exchanged. Owns that exchange and its pace.

Every ``ROLL_S`` with a random member, and at once with one that was lost and is met again, a digest of the present
members (id and boot) is compared. Where it differs both say whom they see, and hand on the profiles of those that
the other lacks. All of it is hearsay: it makes nobody a member and nobody dropped; it has nodes dialled, and a
suspect asked, so that the next view is first-hand.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from falak.core.member import Member
from falak.core.membership import Membership
from falak.core.settings import CELL_MAX
from falak.core.turn import Turn
from falak.core.wire import Introduced, MembersDigest, MembersSeen

ROLL_S: Final = 10.0
"""Larger: less traffic (a digest of 16 bytes). Smaller: a member that was missed is found sooner."""
ANSWER_S: Final = 1.0
"""A peer is told whom we see at most this often; what comes before is counted and not answered."""
INTRODUCED_MAX: Final = 64
"""Profiles handed on in one exchange; the next exchange hands on the rest."""


class RollCall:
    """The room."""

    def __init__(self, turn: Turn, members: Membership) -> None:
        self._turn, self._members = turn, members
        self._answered: dict[str, float] = {}
        self._healed_at = -ANSWER_S

    def sizes(self) -> dict[str, tuple[int, int]]:
        """What is kept here and its limit, by name."""
        return {"members told whom we see": (len(self._answered), CELL_MAX)}

    def begin(self) -> None:
        """Start the rounds."""
        self._turn.after(self._members.jittered(ROLL_S), "rollcall", "round")

    def due(self) -> None:
        """A round: with one member that can be asked."""
        self._turn.after(self._members.jittered(ROLL_S), "rollcall", "round")
        others = [peer for peer in self._members.present() if peer != self._turn.me]
        asked = [peer for peer in others if self._members.reachable(peer)]
        if asked:
            self._compare(self._turn.rng.choice(asked))

    def met(self, peer: str, member: Member) -> None:
        """A member's hello: if it had been lost, the mesh may just have healed. One of many is asked at once."""
        if member.missed and self._turn.now - self._healed_at > ANSWER_S:
            self._healed_at = self._turn.now
            self._compare(peer)
        member.missed = False

    def _compare(self, peer: str) -> None:
        self._turn.send(peer, MembersDigest(self._digest()))

    def digest(self, peer: str, message: MembersDigest) -> None:
        """A member's digest: if it is another than ours, say whom we see."""
        if not self._members.usable(peer):
            self._turn.count("rollcall_of_stranger")
        elif message.digest != self._digest():
            self._tell(peer, True)

    def _tell(self, peer: str, answer: bool) -> None:
        if self._turn.now - self._answered.get(peer, -ANSWER_S) < ANSWER_S:
            self._turn.count("rollcall_too_often")
            return
        self._answered[peer] = self._turn.now
        self._turn.send(peer, MembersSeen(self._seen(), answer))

    def seen(self, peer: str, message: MembersSeen) -> None:
        """Whom a member sees: look for those that are not there for us, and introduce those that it lacks."""
        if not self._members.usable(peer):
            self._turn.count("rollcall_of_stranger")
            return
        theirs = dict(message.members)
        for other in theirs:
            self._members.seek(other)
        lacking = [other for other, boot in self._seen() if theirs.get(other) != boot and other != peer]
        for other in lacking[:INTRODUCED_MAX]:
            profile = self._members.profile_of(other)
            if profile and self._members.usable(other):
                self._turn.send(peer, Introduced(profile))
        if message.answer:
            self._tell(peer, False)

    def gone(self, peer: str) -> None:
        """A member is gone: nothing is remembered of it."""
        self._answered.pop(peer, None)

    def _seen(self) -> tuple[tuple[str, int], ...]:
        boots = ((peer, self._members.boot_of(peer)) for peer in self._members.present())
        return tuple((peer, boot) for peer, boot in boots if boot is not None)

    def _digest(self) -> bytes:
        text = "\n".join(f"{peer} {boot}" for peer, boot in self._seen())
        return blake2b(text.encode(), digest_size=16).digest()
