"""The directory of hosts: which capsule answers at a declared host, as an elector of ``host/HOST`` knows it.

Owns entries and reservations. It never publishes and never routes: keepers enter what their records name, and a
record's own signature is what an entry rests on. The first capsule has a host until its newest record does not name
it any more. A launch asks the electors first and is given the host by a majority of them, so that of two launches at
once at most one goes on; a reservation that no entry follows is forgotten after ``publish_s``.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from falak.core.model import Record, record_in
from falak.core.settings import Settings
from falak.core.turn import Turn
from falak.core.wire import Found, HostEntry, Lookup

PREFIX = "host/"
"""What a host's key begins with, where capsules' keys are their names."""


class HostOf(msgspec.Struct, frozen=True):
    """A host's entry: the capsule that has it, by which generation."""

    capsule: str
    generation: int


class _Reserved(msgspec.Struct, frozen=True):
    capsule: str
    until: float


class Hosts:
    """The room. ``record_of`` gives the newest record known of a capsule."""

    def __init__(self, turn: Turn, settings: Settings, record_of: Callable[[str], Record | None]) -> None:
        self._turn, self._settings, self._record_of = turn, settings, record_of
        self.entries: dict[str, HostOf] = {}
        self._reserved: dict[str, _Reserved] = {}

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Entries and reservations, and their limit."""
        bound = self._settings.hosts_max
        return {"hosts": (len(self.entries), bound), "hosts reserved": (len(self._reserved), bound)}

    def entered(self, message: HostEntry) -> None:
        """A keeper enters a host for its record, or (its newest record does not name it) gives it up."""
        record = record_in(message.record)
        if record is None:
            self._turn.count("record_unreadable")
            return
        host, known = message.host, self._entry(message.host)
        if any(route.host == host for route in record.routes):
            self._enter(host, record, known)
        elif known and known.capsule == record.name and known.generation < record.generation:
            del self.entries[host]

    def _enter(self, host: str, record: Record, known: HostOf | None) -> None:
        if known and known.capsule != record.name:
            self._turn.count("host_taken")
            self._turn.note("capsule.host_refused", capsule=record.name, host=host, owner=known.capsule)
        elif host not in self.entries and len(self.entries) >= self._settings.hosts_max:
            self._turn.count("hosts_full")
        elif known is None or known.generation <= record.generation:
            self.entries[host] = HostOf(record.name, record.generation)
            self._reserved.pop(host, None)

    def forget(self, record: Record) -> None:
        """A record is over: its hosts are free, as far as this node has a say."""
        for route in record.routes:
            entry = self.entries.get(route.host)
            if entry and entry.capsule == record.name:
                del self.entries[route.host]

    def _entry(self, host: str) -> HostOf | None:
        """The entry, unless a newer record of its capsule is known here that does not name the host."""
        entry = self.entries.get(host)
        record = self._record_of(entry.capsule) if entry else None
        if entry and record and all(route.host != host for route in record.routes):
            del self.entries[host]
            return None
        return entry

    def lookup(self, peer: str, message: Lookup) -> None:
        """Who has a host? One that nobody has is reserved for the capsule that ``wants`` it."""
        host = message.key.removeprefix(PREFIX)
        entry = self._entry(host)
        owner = entry.capsule if entry else self._reservation(host, message.wants)
        self._turn.send(peer, Found(message.key, message.token, owner))

    def _reservation(self, host: str, wants: str) -> str:
        reserved = self._reserved.get(host)
        if reserved and reserved.until > self._turn.now and reserved.capsule != wants:
            return reserved.capsule if wants else ""
        if wants and self._has_room(host):
            self._reserved[host] = _Reserved(wants, self._turn.now + self._settings.publish_s)
        return ""

    def _has_room(self, host: str) -> bool:
        """At the bound those that are over go; if none is, nothing is reserved: the entry decides."""
        if host in self._reserved or len(self._reserved) < self._settings.hosts_max:
            return True
        self._reserved = {h: r for h, r in self._reserved.items() if r.until > self._turn.now}
        return len(self._reserved) < self._settings.hosts_max
