"""What orbits: records, which of them is newest, who keeps them, and the routes they make.

Owns the records this node knows and the host entries it has as an elector. It never decides where a capsule
runs. Order is the generation, then the digest: every node that sees the same records keeps the same one.
A record is stored on disk by its keepers; its artifacts are fetched by keepers, and in a cell of at most
``candidates_all`` nodes also by every watcher, so that a candidate can start at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from falak.core.artifacts import HERE, Artifacts
from falak.core.effects import Persist, SetRoutes, Subscribe
from falak.core.events import Persisted
from falak.core.hosts import PREFIX, Hosts
from falak.core.membership import Membership
from falak.core.model import UNREADABLE, Profile, Record, SignedRecord, clip, decode_record
from falak.core.rendezvous import electors, keepers
from falak.core.settings import GOSSIP_MAX_BYTES, MESSAGE_MAX_BYTES, STEP_SLOTS_MAX, Settings
from falak.core.turn import Turn
from falak.core.wire import Announce, Found, HostEntry, Keep, Kept, Lookup, Records


class Held(msgspec.Struct):
    """A record as it is held here, since when. ``stored``: on this node's disk; ``storing``: on its way."""

    record: Record
    signed: SignedRecord
    digest: bytes
    stored: bool = False
    since: float = 0.0
    storing: bool = False


def default_host(name: str) -> str:
    """The host that every capsule answers to without declaring one."""
    return f"{name}.localhost"


class Orbits:
    """The room of records. ``watched`` are the orbits whose records are kept and whose capsules this node
    is a candidate for; ``changed(name, generation, born)`` is called for every record taken in (``born``: it
    is the first of its name, and just published)."""

    def __init__(
        self,
        turn: Turn,
        settings: Settings,
        members: Membership,
        artifacts: Artifacts,
        watched: tuple[str, ...],
        changed: Callable[[str, int, bool], None],
    ) -> None:
        self._turn, self._settings, self._members, self._artifacts = turn, settings, members, artifacts
        self._changed = changed
        self.watched = watched
        self.records: dict[str, Held] = {}
        self.hosts = Hosts(turn, settings, self.get)
        self._keeping: dict[str, set[str]] = {}
        self._writing: dict[str, int] = {}
        self._recheck: deque[str] = deque()
        self._routes: tuple[tuple[str, str, str], ...] = ()
        self._routes_outdated = False

    def sizes(self) -> dict[str, tuple[int, int]]:
        """What is kept here and its limit, by name."""
        settings = self._settings
        return {
            "records": (len(self.records), settings.records_max),
            **self.hosts.sizes(),
            "records others wait for": (len(self._keeping), settings.records_max),
        }

    def begin(self, kept: tuple[SignedRecord, ...]) -> None:
        """Subscribe to the watched orbits and take up what the disk kept."""
        for orbit in self.watched:
            self._turn.do(Subscribe(self.topic(orbit)))
        for signed in kept:
            self._take_in(signed, stored=True)
        self._rebuild_routes()

    @staticmethod
    def topic(orbit: str) -> str:
        """An orbit's gossip topic."""
        return f"/falak/1/orbit/{orbit}"

    def electors_of(self, key: str) -> tuple[str, ...]:
        """The electors of a capsule's name or of ``host/HOST``."""
        return electors(key, self._members.present())

    def keepers_of(self, name: str) -> tuple[str, ...]:
        """The keepers of a capsule."""
        return keepers(self.electors_of(name), self._members.zones())

    def get(self, name: str) -> Record | None:
        """The newest record known of a capsule."""
        held = self.records.get(name)
        return held.record if held else None

    # --- taking in records -------------------------------------------------------------------------------

    def accept(self, signed: SignedRecord, announced: bool = False) -> Held | None:
        """Take in a verified record (``announced``: as news, not out of a memory). Returns it where it is now
        the newest known, also if it was already."""
        held = self._take_in(signed, announced=announced)
        self._rebuild_routes()
        return held

    def _take_in(self, signed: SignedRecord, stored: bool = False, announced: bool = False) -> Held | None:
        try:
            record = decode_record(signed.data)
        except UNREADABLE:
            self._turn.count("record_unreadable")
            return None
        known = self.records.get(record.name)
        digest = signed.digest
        if known and (known.record.generation, known.digest) >= (record.generation, digest):
            return known if known.digest == digest else None
        if known is None and len(self.records) >= self._settings.records_max:
            self._turn.count("records_full")
            self._turn.note("capsule.refused", capsule=record.name, reason="this node's records are full")
            return None
        if len(signed.data) > GOSSIP_MAX_BYTES:
            self._turn.count("record_oversize")
            return None
        held = self.records[record.name] = Held(record, signed, digest, stored, self._turn.now)
        self._announce_change(record, signed, known)
        self._routes_outdated = True
        self._see_to(record.name)
        if known:
            self._give_up_hosts(known.record, held)
        self._changed(record.name, record.generation, announced and known is None and record.generation == 1)
        return held

    def _announce_change(self, record: Record, signed: SignedRecord, known: Held | None) -> None:
        event = "capsule.updated" if known else "capsule.announced"
        self._turn.note(
            event,
            capsule=record.name,
            generation=record.generation,
            version=record.version,
            publisher=self._members.name_of(signed.publisher),
        )

    def announced(self, message: Announce) -> None:
        """A record was published."""
        self.accept(message.record, announced=True)

    def synced(self, message: Records) -> None:
        """Records from a member that thinks we should have them: there may be thousands, so routes are made
        once."""
        for signed in message.records:
            self._take_in(signed)
        self._rebuild_routes()

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
        for name, held in sorted(self.records.items(), key=lambda item: (-item[1].record.generation, item[0])):
            routes[default_host(name), "/"] = name
            for route in held.record.routes:
                routes.setdefault((route.host, route.prefix), name)
        return routes

    # --- keeping -----------------------------------------------------------------------------------------

    def keep(self, peer: str, message: Keep) -> None:
        """A publisher asks us to keep its record and artifacts; answered once both are on disk here."""
        held = self.accept(message.record, announced=True)
        if held is None:
            digest = message.record.digest
            name = self._name_in(message.record)
            self._turn.send(peer, Kept(name, digest, "a newer generation is known, or it cannot be read"))
            return
        self._keeping.setdefault(held.record.name, set()).add(peer)
        self._store(held)
        self._fetch(held.record, (peer, held.signed.publisher))
        self._answer_keep(held.record.name)

    @staticmethod
    def _name_in(signed: SignedRecord) -> str:
        try:
            return decode_record(signed.data).name
        except UNREADABLE:
            return ""

    def _store(self, held: Held) -> None:
        if not held.stored and not held.storing:
            held.storing = True
            self._writing[held.record.name] = self._writing.get(held.record.name, 0) + 1
            self._turn.do(Persist(f"record/{held.record.name}", msgspec.msgpack.encode(held.signed)))

    def persisted(self, event: Persisted) -> None:
        """The disk has a record, or could not take it."""
        name = event.key.removeprefix("record/")
        held = self.records.get(name)
        if held is None or name == event.key:
            return
        self._writing[name] = self._writing.get(name, 1) - 1
        if self._writing[name] > 0:
            return  # of an older record: a newer one is on its way
        del self._writing[name]
        held.storing = False
        if event.why:
            self._turn.note("capsule.not_stored", capsule=name, reason=event.why)
            self._fail_keep(name, event.why)
        else:
            held.stored = True
            self._answer_keep(name)

    def artifact_changed(self, digest: str, why: str) -> None:
        """An artifact is here now, or will not be."""
        for name in list(self._keeping):
            held = self.records.get(name)
            if held and any(a.digest == digest for a in held.record.artifacts):
                if why:
                    self._fail_keep(name, why)
                else:
                    self._answer_keep(name)

    def is_kept(self, name: str) -> bool:
        """Whether this node has the record on disk and all artifacts."""
        held = self.records.get(name)
        return bool(held and held.stored) and self.has_artifacts(name)

    def has_artifacts(self, name: str) -> bool:
        """Whether all artifacts of the record are here."""
        held = self.records.get(name)
        return held is not None and all(self._artifacts.level(a.digest) >= HERE for a in held.record.artifacts)

    def _answer_keep(self, name: str) -> None:
        if name in self._keeping and self.is_kept(name):
            for peer in sorted(self._keeping.pop(name)):
                self._turn.send(peer, Kept(name, self.records[name].digest))

    def _fail_keep(self, name: str, why: str) -> None:
        for peer in sorted(self._keeping.pop(name, ())):
            self._turn.send(peer, Kept(name, self.records[name].digest, clip(why)))

    def _fetch(self, record: Record, sources: tuple[str, ...]) -> None:
        candidate = record.orbit in self.watched
        for artifact in record.artifacts:
            self._artifacts.want(artifact, record.runtime, sources, prepare=candidate)

    def fetch_for_start(self, record: Record) -> None:
        """A copy is to start here: get and prepare what it needs."""
        held = self.records.get(record.name)
        publisher = (held.signed.publisher,) if held else ()
        self._fetch(record, (*self.keepers_of(record.name), *publisher))

    def _see_to(self, name: str) -> None:
        """Do for a record what this node's place among the members asks: store, fetch, enter, hand on."""
        held = self.records[name]
        chosen = self.keepers_of(name)
        keeper = self._turn.me in chosen
        if keeper:
            self._store(held)
            for host in dict.fromkeys(route.host for route in held.record.routes):
                self._enter(host, held.signed)
        if self.fetches(held.record, self._turn.me, self.watched):
            sources = (held.signed.publisher, *chosen)
            if self.has_artifacts(name) or any(self._members.usable(s) for s in sources if s != self._turn.me):
                self._fetch(held.record, sources)
        if chosen and chosen[0] == self._turn.me:
            self._hand_to_electors(held)

    def fetches(self, record: Record, peer: str, orbits: tuple[str, ...]) -> bool:
        """Whether a member that watches these orbits has the record's artifacts by itself: keepers have, and in
        a small cell every watcher, so that a candidate can start at once."""
        small = len(self._members.present()) <= self._settings.candidates_all
        return (small and record.orbit in orbits) or peer in self.keepers_of(record.name)

    def _hand_to_electors(self, held: Held) -> None:
        for elector in self.electors_of(held.record.name):
            profile = self._members.profile_of(elector)
            if elector != self._turn.me and profile and held.record.orbit not in profile.orbits:
                self._turn.send(elector, Records((held.signed,)))

    def members_changed(self) -> None:
        """Electors moved: look at every record again, ``STEP_SLOTS_MAX`` a step."""
        self._recheck = deque(self.records)
        self._turn.after(0.0, "orbits", "recheck")

    def due(self) -> None:
        """The next records to look at again."""
        for _ in range(min(STEP_SLOTS_MAX, len(self._recheck))):
            name = self._recheck.popleft()
            if name in self.records:
                self._see_to(name)
        if self._recheck:
            self._turn.after(0.0, "orbits", "recheck")

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
        held = self.records.get(message.key)
        generation = held.record.generation if held else 0
        name = held.record.name if held else ""
        found = Found(message.key, message.token, name, generation, held.signed if held else None)
        self._turn.send(peer, found)

    # --- first sync --------------------------------------------------------------------------------------

    def first_sync(self, peer: str, profile: Profile, since: float = 0.0) -> None:
        """Hand a joiner the records of its orbits and those it is an elector of, in batches; a member that was
        away only what came ``since`` it was."""
        batch: list[SignedRecord] = []
        size = 0
        for name, held in self.records.items():
            wanted = held.record.orbit in profile.orbits or peer in self.electors_of(name)
            if held.since < since or not wanted:
                continue
            if size + len(held.signed.data) > MESSAGE_MAX_BYTES // 2:
                self._turn.send(peer, Records(tuple(batch)))
                batch, size = [], 0
            batch.append(held.signed)
            size += len(held.signed.data) + 256
        if batch:
            self._turn.send(peer, Records(tuple(batch)))
