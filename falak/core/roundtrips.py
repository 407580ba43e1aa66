"""How far members are: pings, pongs, and the smoothed round trip to each. Owns the measuring, never a judgement."""

from __future__ import annotations

from falak.core.member import Member
from falak.core.settings import Settings
from falak.core.turn import Turn
from falak.core.wire import Ping, Pong


class RoundTrips:
    """The room. ``members`` is the membership's own table, by id; the figure stands with each member."""

    def __init__(self, turn: Turn, settings: Settings, members: dict[str, Member]) -> None:
        self._turn, self._settings, self._members = turn, settings, members

    def seconds(self, peer: str) -> float:
        """The smoothed round trip to a member, or the assumed one; 0 to oneself."""
        if peer == self._turn.me:
            return 0.0
        member = self._members.get(peer)
        return member.rtt_s if member and member.rtt_s else self._settings.rtt_s

    def sample(self, peer: str, seconds: float) -> None:
        """A measured round trip (smoothed by 1/8, RFC 6298)."""
        member = self._members.get(peer)
        if member:
            member.rtt_s = seconds if not member.rtt_s else member.rtt_s + 0.125 * (seconds - member.rtt_s)

    def measure(self, peer: str) -> None:
        """Send what will be answered at once."""
        self._turn.send(peer, Ping(round(self._turn.now * 1e6)))

    def measure_next(self, turn: int) -> None:
        """One linked member a heartbeat, in turn: a measure that does not grow with the cell."""
        linked = [peer for peer, member in self._members.items() if member.linked]
        if linked:
            self.measure(linked[turn % len(linked)])

    def ping(self, peer: str, message: Ping) -> None:
        """A peer measures its way to us."""
        self._turn.send(peer, Pong(message.stamp_us))

    def pong(self, peer: str, message: Pong) -> bool:
        """A peer answered: one round trip. False for a stamp that is not ours."""
        seconds = self._turn.now - message.stamp_us / 1e6
        if not 0 <= seconds <= self._settings.hello_s:
            self._turn.count("pong_odd")
            return False
        self.sample(peer, seconds)
        return True
