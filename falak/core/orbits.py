"""What orbits: records, which of them is newest, who keeps them, and the routes they make.

Owns the records and tombstones this node knows. It never decides where a capsule runs. Order is the generation,
then the digest: every node that sees the same records keeps the same one. A tombstone is the newest record of a
capsule that was withdrawn: it takes the place of the older ones, so that none of them comes back. Other rooms
share the work: ``presence`` (how long a record is visible), ``keeping`` (what is on this node's disk), ``risk``
(what is done when a node is lost), ``inventory`` (what two nodes compare), ``hosts``.

A record is stored on disk by its keepers; its artifacts are fetched by keepers, and in a cell of at most
``candidates_all`` nodes also by every watcher, so that a candidate can start at once. A node that was away from
every peer for ``AWAY_MAX_S`` does not trust what its disk kept: it takes it up only if there is nobody to ask.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, Protocol

from falak.core.artifacts import Artifacts
from falak.core.effects import SetRoutes, Subscribe
from falak.core.events import Begin
from falak.core.hosts import PREFIX, Hosts
from falak.core.inventory import Inventory
from falak.core.keeping import Held, Keeping
from falak.core.membership import Membership
from falak.core.model import Record, SignedRecord, record_in
from falak.core.presence import Presence
from falak.core.rendezvous import electors, keepers
from falak.core.risk import Risk
from falak.core.settings import AWAY_MAX_S, GOSSIP_MAX_BYTES, STEP_SLOTS_MAX, Settings
from falak.core.turn import Turn
from falak.core.wire import Announce, Found, HostEntry, Lookup, Records, Visible

CHOSEN_MAX: Final = 65_536
"""Electors remembered by key until members change; beyond it they are computed anew."""
PREVIOUS: Final = "previous/"
"""What the key of a lookup for a capsule's generation before the newest begins with."""
SWEEP_S: Final = 3600.0
"""Tombstones whose time is over are forgotten this often."""


def default_host(name: str) -> str:
    """The host that every capsule answers to without declaring one."""
    return f"{name}.localhost"


class Listener(Protocol):
    """Who wants to know of records: the node, which tells its rooms."""

    def record_changed(self, name: str, generation: int, born: bool) -> None:
        """A record or tombstone was taken in. ``born``: it is the first of its name, and just published."""

    def record_gone(self, name: str, why: str) -> None:
        """A record is over, and nothing newer is there: its copies end."""


class Orbits:
    """The room of records. ``watched`` are the orbits whose records are kept and whose capsules this node
    is a candidate for."""

    def __init__(
        self,
        turn: Turn,
        settings: Settings,
        members: Membership,
        artifacts: Artifacts,
        watched: tuple[str, ...],
        listener: Listener,
    ) -> None:
        self._turn, self._settings, self._members, self._artifacts = turn, settings, members, artifacts
        self._listener = listener
        self.watched = watched
        self.records: dict[str, Held] = {}
        self.tombstones: dict[str, Held] = {}
        self.inventory = Inventory()
        self.presence = Presence(turn, settings, members, self)
        self.keeping = Keeping(turn, settings, artifacts, self)
        self.risk = Risk(turn, members)
        self.hosts = Hosts(turn, settings, self._newest_record)
        self._names: dict[bytes, str] = {}
        self._doubtful: tuple[SignedRecord, ...] = ()
        self._recheck: deque[str] = deque()
        self._chosen: dict[str, tuple[str, ...]] = {}
        self._chosen_of: tuple[str, ...] = ()
        self._routes: tuple[tuple[str, str, str], ...] = ()
        self._routes_outdated = False

    def sizes(self) -> dict[str, tuple[int, int]]:
        """What is kept here and its limit, by name."""
        settings = self._settings
        sizes = {
            "records": (len(self.records), settings.records_max),
            "tombstones": (len(self.tombstones), settings.records_max),
        }
        for room in (self.hosts, self.presence, self.keeping, self.risk):
            sizes |= room.sizes()
        return sizes

    def begin(self, event: Begin) -> None:
        """Subscribe to the watched orbits and take up what the disk kept."""
        for orbit in self.watched:
            self._turn.do(Subscribe(self.topic(orbit)))
        if event.away_s > AWAY_MAX_S and event.contacts:
            self._doubtful = event.kept
        else:
            self._take_up(event.kept)
            self.keeping.found(event.previous)
        self._turn.after(SWEEP_S, "orbits", "sweep")

    def _take_up(self, kept: tuple[SignedRecord, ...]) -> None:
        for signed in kept:
            self._take_in(signed, stored=True)
        self._rebuild_routes()

    def joined(self) -> None:
        """This node is part of the mesh: what it did not trust is of no use where others could be asked."""
        doubtful, self._doubtful = self._doubtful, ()
        if len(self._members.present()) == 1:
            self._take_up(doubtful)
            return
        for signed in doubtful:
            record = self._read(signed)
            held = self.newest(record.name) if record else None
            if record and not (held and held.digest == signed.digest):
                self._turn.count("records_discarded")
                if held is None or not (held.stored or held.storing):
                    self.keeping.erase(record.name)

    # --- who is responsible, and for what ----------------------------------------------------------------

    @staticmethod
    def topic(orbit: str) -> str:
        """An orbit's gossip topic."""
        return f"/falak/1/orbit/{orbit}"

    def topic_of(self, name: str) -> str:
        """The gossip topic of a record's orbit."""
        return self.topic(self.records[name].record.orbit)

    def electors_of(self, key: str) -> tuple[str, ...]:
        """The electors of a capsule's name or of ``host/HOST``."""
        present = self._members.present()
        if present is not self._chosen_of or len(self._chosen) >= CHOSEN_MAX:
            self._chosen, self._chosen_of = {}, present
        chosen = self._chosen.get(key)
        if chosen is None:
            chosen = self._chosen[key] = electors(key, present)
        return chosen

    def keepers_of(self, name: str) -> tuple[str, ...]:
        """The keepers of a capsule: electors whose disks take something, if there are any."""
        chosen = self.electors_of(name)
        able = tuple(peer for peer in chosen if self._stores(peer))
        return keepers(able or chosen, self._members.zones())

    def _stores(self, peer: str) -> bool:
        if peer == self._turn.me:
            return not self.keeping.disk_why
        profile = self._members.profile_of(peer)
        return profile is None or not profile.cannot_store

    def renewer_of(self, name: str) -> str:
        """Who renews a record: its first keeper that is not suspect, or its publisher alone."""
        held = self.records.get(name)
        if held is None:
            return ""
        if not held.record.keep:
            return held.signed.publisher
        return next(filter(self._members.usable, self.keepers_of(name)), "")

    def may_renew(self, peer: str, name: str) -> bool:
        """Whether a node's renewal counts: any elector's, for views of who is first differ at times."""
        held = self.records.get(name)
        if held is None:
            return False
        return peer in self.electors_of(name) if held.record.keep else peer == held.signed.publisher

    def elsewhere(self, name: str) -> list[str]:
        """Electors of a record or tombstone, other than this node, that do not watch its orbit."""
        held = self.newest(name)
        if held is None:
            return []
        orbit = held.record.orbit
        profiles = ((peer, self._members.profile_of(peer)) for peer in self.electors_of(name))
        return [p for p, profile in profiles if p != self._turn.me and profile and orbit not in profile.orbits]

    # --- what is known -----------------------------------------------------------------------------------

    def get(self, name: str) -> Record | None:
        """The newest record known of a capsule that orbits."""
        held = self.records.get(name)
        return held.record if held else None

    def newest(self, name: str) -> Held | None:
        """The newest record or tombstone of a capsule."""
        return self.records.get(name) or self.tombstones.get(name)

    def _newest_record(self, name: str) -> Record | None:
        held = self.newest(name)
        return held.record if held else None

    def generation_of(self, name: str) -> int:
        """The highest generation known of a capsule, withdrawn and expired ones included."""
        held = self.newest(name)
        return max(held.record.generation if held else 0, self.presence.generation_over(name))

    def name_of(self, digest: bytes) -> str:
        """The capsule whose newest record or tombstone has this digest."""
        return self._names.get(digest, "")

    def is_kept(self, name: str) -> bool:
        """Whether this node has the record on disk and all artifacts."""
        return self.keeping.is_kept(name)

    def handed(self, batch: Iterable[Held]) -> Records:
        """Records as they are handed over: with their counters and what is left of their time."""
        batch = tuple(batch)
        visible = tuple(self.presence.visible(held.record.name) for held in batch)
        return Records(tuple(held.signed for held in batch), visible)

    # --- taking in records -------------------------------------------------------------------------------

    def accept(self, signed: SignedRecord, announced: bool = False) -> Held | None:
        """Take in a verified record (``announced``: as news, not out of a memory). Returns it where it is now
        the newest known, also if it was already."""
        held = self._take_in(signed, announced=announced)
        self._rebuild_routes()
        return held

    def _read(self, signed: SignedRecord) -> Record | None:
        record = record_in(signed)
        if record is None:
            self._turn.count("record_unreadable")
        return record

    def _take_in(
        self,
        signed: SignedRecord,
        stored: bool = False,
        announced: bool = False,
        visible: Visible | None = None,
    ) -> Held | None:
        record = self._read(signed)
        if record is None:
            return None
        known = self.newest(record.name)
        digest = signed.digest
        if known and (known.record.generation, known.digest) >= (record.generation, digest):
            if known.digest != digest:
                return None
            self.presence.told(record.name, visible)
            return known
        if self._is_refused(record, signed, known, visible):
            return None
        held = Held(record, signed, digest, stored, self._turn.now)
        self._replace(held, known, visible)
        if record.withdrawn:
            self._announce_withdrawal(record, signed)
        else:
            self._announce_change(record, signed, known)
        self._see_to(record.name)
        if known:
            self._give_up_hosts(known.record, held)
        born = announced and known is None and record.generation == 1
        self._listener.record_changed(record.name, record.generation, born)
        return held

    def _is_refused(
        self, record: Record, signed: SignedRecord, known: Held | None, visible: Visible | None
    ) -> bool:
        kind = self.tombstones if record.withdrawn else self.records
        if record.name not in kind and len(kind) >= self._settings.records_max:
            self._turn.count("records_full")
            self._turn.note("capsule.refused", capsule=record.name, reason="this node's records are full")
        elif len(signed.data) > GOSSIP_MAX_BYTES:
            self._turn.count("record_oversize")
        elif known is None and self.presence.is_past(record.not_after_s):
            self._turn.count("record_past_not_after")
        elif self.presence.is_over(record.name, signed.digest, visible.counter if visible else 0):
            self._turn.count("record_over")
        else:
            return False
        return True

    def _replace(self, held: Held, known: Held | None, visible: Visible | None) -> None:
        record = held.record
        if known:
            self._remove(known)
            if not known.record.withdrawn:
                self.keeping.replaced(known, held)
        self._names[held.digest] = record.name
        self.inventory.put(record.orbit, record.name, record.generation, held.digest)
        if record.withdrawn:
            self.tombstones[record.name] = held
        else:
            self.records[record.name] = held
            self.presence.take(record, held.digest, visible)
        self._routes_outdated = True

    def _remove(self, held: Held) -> None:
        name = held.record.name
        self.records.pop(name, None)
        self.tombstones.pop(name, None)
        self._names.pop(held.digest, None)
        self.inventory.drop(name)
        self.presence.forget(name)
        self._routes_outdated = True

    def _announce_change(self, record: Record, signed: SignedRecord, known: Held | None) -> None:
        event = "capsule.updated" if known else "capsule.announced"
        self._turn.note(
            event,
            capsule=record.name,
            generation=record.generation,
            version=record.version,
            publisher=self._members.name_of(signed.publisher),
        )

    def _announce_withdrawal(self, record: Record, signed: SignedRecord) -> None:
        publisher = self._members.name_of(signed.publisher)
        self._turn.note(
            "capsule.withdrawn", capsule=record.name, generation=record.generation, publisher=publisher
        )

    def announced(self, message: Announce) -> None:
        """A record was published."""
        self.accept(message.record, announced=True)

    def synced(self, peer: str, message: Records) -> None:
        """Records from a member that thinks we should have them: there may be thousands, so routes are made
        once. Whoever has older ones than we have is given ours."""
        newer: list[Held] = []
        for at, signed in enumerate(message.records):
            visible = message.visible[at] if at < len(message.visible) else None
            if self._take_in(signed, visible=visible) is None and (held := self._newer_than(signed)):
                newer.append(held)
        self._rebuild_routes()
        if newer:
            self._turn.send(peer, self.handed(newer[:STEP_SLOTS_MAX]))

    def _newer_than(self, signed: SignedRecord) -> Held | None:
        record = self._read(signed)
        held = self.newest(record.name) if record else None
        return held if record and held and held.record.generation > record.generation else None

    def end(self, name: str, why: str) -> None:
        """A record's time is over: it leaves the orbit, its copies end, and nothing of it is kept."""
        held = self.records.get(name)
        if held is None:
            return
        self.presence.over(name, held.record.generation)
        self._remove(held)
        self.hosts.forget(held.record)
        self._turn.note("capsule.expired", capsule=name, generation=held.record.generation, reason=why)
        self.keeping.ended(held)
        self._rebuild_routes()
        self._listener.record_gone(name, f"{name} expired: {why}")

    def _sweep(self) -> None:
        """Tombstones end by their ``not_after``, at the same time everywhere."""
        self._turn.after(SWEEP_S, "orbits", "sweep")
        for held in [h for h in self.tombstones.values() if self.presence.is_past(h.record.not_after_s)]:
            self._remove(held)
            self.keeping.ended(held)

    def _rebuild_routes(self) -> None:
        if not self._routes_outdated:
            return
        self._routes_outdated = False
        routes = tuple(sorted((*place, name) for place, name in self._all_routes().items()))
        if routes != self._routes:
            self._routes = routes
            self._turn.do(SetRoutes(routes))

    def _all_routes(self) -> dict[tuple[str, str], str]:
        """Capsule by host and prefix. Of two that name the same (launched while the mesh was split) every node
        takes the one published more often, then the first by name."""
        routes: dict[tuple[str, str], str] = {}
        for name, held in self.records.items():
            routes[default_host(name), "/"] = name
            for route in held.record.routes:
                other = routes.setdefault((route.host, route.prefix), name)
                if self._precedence(name) < self._precedence(other):
                    routes[route.host, route.prefix] = name
        return routes

    def _precedence(self, name: str) -> tuple[int, str]:
        return (-self.records[name].record.generation, name)

    # --- seeing to records -------------------------------------------------------------------------------

    def fetch(self, held: Held, sources: tuple[str, ...]) -> None:
        """Get a record's artifacts from any of these."""
        self._want(held.record, sources)

    def fetch_for_start(self, record: Record) -> None:
        """A copy is to start here: get and prepare what it needs."""
        held = self.records.get(record.name)
        publisher = (held.signed.publisher,) if held else ()
        self._want(record, (*self.keepers_of(record.name), *publisher))

    def _want(self, record: Record, sources: tuple[str, ...]) -> None:
        candidate = record.orbit in self.watched
        for artifact in record.artifacts:
            self._artifacts.want(artifact, record.runtime, sources, prepare=candidate)

    def _see_to(self, name: str) -> None:
        """Do for a record what this node's place among the members asks: store, fetch, enter, hand on."""
        held = self.newest(name)
        if held is None:
            return
        chosen = self.keepers_of(name)
        if self._turn.me in chosen:
            self.keeping.store(held)
            for host in dict.fromkeys(route.host for route in held.record.routes):
                self._enter(host, held.signed)
        if self.fetches(held.record, self._turn.me, self.watched):
            sources = (held.signed.publisher, *chosen)
            reachable = any(self._members.usable(s) for s in sources if s != self._turn.me)
            if self.keeping.has_artifacts(name) or reachable:
                self.fetch(held, sources)
        if chosen and chosen[0] == self._turn.me:
            for elector in self.elsewhere(name):
                self._turn.send(elector, self.handed((held,)))
        self.risk.look(held, chosen)

    def fetches(self, record: Record, peer: str, orbits: tuple[str, ...]) -> bool:
        """Whether a member that watches these orbits has the record's artifacts by itself: keepers have, and in
        a small cell every watcher, so that a candidate can start at once."""
        small = len(self._members.present()) <= self._settings.candidates_all
        return (small and record.orbit in orbits) or peer in self.keepers_of(record.name)

    def members_changed(self) -> None:
        """Electors moved, or what a disk takes: look at every record again, ``STEP_SLOTS_MAX`` a step."""
        self._chosen = {}
        self.risk.members_changed()
        self._recheck = deque((*self.records, *self.tombstones))
        self._turn.after(0.0, "orbits", "recheck")

    def due(self, what: str) -> None:
        """A timer of this room fired."""
        if what == "sweep":
            self._sweep()
            return
        for _ in range(min(STEP_SLOTS_MAX, len(self._recheck))):
            self._see_to(self._recheck.popleft())
        if self._recheck:
            self._turn.after(0.0, "orbits", "recheck")
        else:
            self.risk.looked_at_all()

    def regossip(self) -> None:
        """The next record at risk is gossiped again."""
        held = self.records.get(self.risk.next())
        if held:
            self.risk.regossip(held, self.topic(held.record.orbit))

    # --- the directory of hosts and names ----------------------------------------------------------------

    def _enter(self, host: str, signed: SignedRecord) -> None:
        for elector in self.electors_of(f"{PREFIX}{host}"):
            self._turn.send(elector, HostEntry(host, signed))

    def _give_up_hosts(self, before: Record, held: Held) -> None:
        """A keeper's part when a newer record does not name a host any more."""
        if self._turn.me in self.keepers_of(before.name):
            kept = {route.host for route in held.record.routes}
            for host in dict.fromkeys(route.host for route in before.routes if route.host not in kept):
                self._enter(host, held.signed)

    def lookup(self, peer: str, message: Lookup) -> None:
        """Someone asks what stands under a key here."""
        if message.key.startswith(PREFIX):
            self.hosts.lookup(peer, message)
            return
        if message.key.startswith(PREVIOUS):
            name = message.key.removeprefix(PREVIOUS)
            found = Found(message.key, message.token, name, 0, self.keeping.previous.get(name))
        else:
            held = self.newest(message.key)
            name = held.record.name if held else ""
            generation = self.generation_of(message.key)
            found = Found(message.key, message.token, name, generation, held.signed if held else None)
        self._turn.send(peer, found)
