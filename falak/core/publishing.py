"""Publishing: from a person's record to one that is kept by two others, and finding what is not known here.

Owns launches under way at this node and inquiries to electors. "Published" means gossiped and kept by two
others (all, where there are fewer; alone: oneself), so that the publisher may vanish the moment it is told.

    asked --electors' generations--> signing --> keeping --Kept of two others--> published
    any of them --host taken, deadline, disk--> failed, with the reason
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from falak.core.artifacts import Artifacts
from falak.core.effects import Published, Refuse, Retry, Sign
from falak.core.events import Publish, Rollback, Signed, Withdraw
from falak.core.hosts import PREFIX
from falak.core.keeping import Held
from falak.core.membership import Membership
from falak.core.model import Record, SignedRecord, content_of, encode_record, record_in
from falak.core.orbits import PREVIOUS, Orbits, default_host
from falak.core.quorum import needed
from falak.core.settings import GOSSIP_MAX_BYTES, TOMBSTONE_S, Settings
from falak.core.turn import Turn
from falak.core.wire import Announce, Found, Keep, Kept, Lookup

SIGNATURE_ROOM_BYTES = 512
"""Left of a gossiped message for the envelope, the publisher and the signature."""
UNKNOWN_MAX = 4096
"""Keys remembered as unknown; at the bound all are forgotten and asked for again."""
OTHERS_WANTED = 2
"""Others that must keep a record before it is published."""


class _Launch(msgspec.Struct):
    request: int
    record: Record
    generation: int = 0
    keys: dict[int, str] = msgspec.field(default_factory=dict)
    asked: dict[int, tuple[str, ...]] = msgspec.field(default_factory=dict)
    heard: dict[int, set[str]] = msgspec.field(default_factory=dict)
    taken: dict[int, dict[str, str]] = msgspec.field(default_factory=dict)
    asked_again: bool = False
    held: Held | None = None
    keepers: set[str] = msgspec.field(default_factory=set)
    kept_by: set[str] = msgspec.field(default_factory=set)
    refusals: dict[str, str] = msgspec.field(default_factory=dict)
    signing: bool = False
    rolls_back: bool = False
    before: Record | None = None
    changed: bool = False


class _Search(msgspec.Struct):
    """Requests are parked under ``key`` while we look for what it names."""

    key: str
    name: str
    electors: tuple[str, ...]
    missing: set[str]
    asked_again: bool = False


class Publishing:
    """The room of launches and searches."""

    def __init__(
        self, turn: Turn, settings: Settings, members: Membership, orbits: Orbits, artifacts: Artifacts
    ) -> None:
        self._turn, self._settings, self._members, self._orbits = turn, settings, members, orbits
        self._artifacts = artifacts
        self._launches: dict[int, _Launch] = {}
        self._searches: dict[int, _Search] = {}
        self._unknown: dict[str, float] = {}
        self._before_joined: dict[str, None] = {}
        self._token = 0

    def sizes(self) -> dict[str, tuple[int, int]]:
        """What is under way and remembered here, and its limit, by name."""
        settings = self._settings
        return {
            "launches": (len(self._launches), settings.publications_max),
            "searches": (len(self._searches) + len(self._before_joined), settings.searches_max),
            "unknown hosts": (len(self._unknown), UNKNOWN_MAX),
        }

    # --- launching ---------------------------------------------------------------------------------------

    def publish(self, event: Publish) -> None:
        """Begin a launch: ask the electors for the highest generation and for the hosts' owners."""
        record = event.record
        why = self._objection(record)
        if why:
            self._turn.do(Published(event.request, record.name, 0, (), False, why))
            return
        self._artifacts.found(a.digest for a in record.artifacts)
        self._begin(event.request, record)

    def _begin(self, request: int, record: Record) -> None:
        launch = self._launches[request] = _Launch(request, record)
        for key in dict.fromkeys((record.name, *(f"{PREFIX}{route.host}" for route in record.routes))):
            self._ask(launch, key)
        self._wait(request)

    def _wait(self, request: int) -> None:
        self._turn.after(self._settings.inquiry_s / 2, "publish", "inquiry", str(request))
        self._turn.after(self._settings.publish_s, "publish", "deadline", str(request))

    def withdraw(self, event: Withdraw) -> None:
        """Begin to withdraw a capsule: its tombstone is the next generation, and kept as any record is."""
        tombstone = Record(event.name, 0, "", "", withdrawn=True)
        why = self._objection(tombstone)
        if why:
            self._turn.do(Published(event.request, event.name, 0, (), False, why))
        else:
            self._begin(event.request, tombstone)

    def roll_back(self, event: Rollback) -> None:
        """Begin a rollback: ask the electors for the generation before the newest, then publish its content."""
        wanted = Record(event.name, 0, "", "")
        why = self._objection(wanted)
        if why:
            self._turn.do(Published(event.request, event.name, 0, (), False, why))
            return
        launch = self._launches[event.request] = _Launch(event.request, wanted, rolls_back=True)
        for key in (event.name, f"{PREVIOUS}{event.name}"):
            self._ask(launch, key)
        self._wait(event.request)

    def _roll_back_to(self, launch: _Launch) -> None:
        """The electors were asked: what they know to have been before is launched anew."""
        name, newest = launch.record.name, self._orbits.get(launch.record.name)
        own = self._orbits.keeping.previous.get(name)
        self._look_at_previous(launch, own)
        if newest is None:
            self._fail(launch, "no capsule of this name orbits; falak capsules lists those that do")
        elif launch.before is None or launch.before.generation >= newest.generation:
            self._fail(launch, f"no node here has the generation before {newest.generation}: launch it again")
        else:
            self._end(launch)
            self._begin(launch.request, replace(launch.before, generation=0))

    @staticmethod
    def _look_at_previous(launch: _Launch, signed: SignedRecord | None) -> None:
        record = record_in(signed) if signed else None
        newer = launch.before is None or (record and record.generation > launch.before.generation)
        if record and record.name == launch.record.name and newer:
            launch.before = record

    def _objection(self, record: Record) -> str:
        if not self._members.joined:
            return "this node has not joined its mesh yet; try again when it has"
        if self._orbits.presence.is_past(record.not_after_s):
            return "its not_after has passed"
        size = len(encode_record(record)) + SIGNATURE_ROOM_BYTES
        if size > GOSSIP_MAX_BYTES:
            return (
                f"the record takes {size} bytes, {GOSSIP_MAX_BYTES} is the most that is gossiped: shorten env"
            )
        if len(self._launches) >= self._settings.publications_max:
            return f"{len(self._launches)} launches are under way at this node; try again when one has ended"
        return ""

    def _ask(self, launch: _Launch, key: str) -> None:
        self._token += 1
        electors = self._orbits.electors_of(key)
        launch.asked[self._token], launch.heard[self._token] = electors, set()
        launch.keys[self._token], launch.taken[self._token] = key, {}
        for elector in electors:
            self._turn.send(elector, self._lookup(launch, self._token))

    @staticmethod
    def _lookup(launch: _Launch, token: int) -> Lookup:
        key = launch.keys[token]
        return Lookup(key, token, launch.record.name if key.startswith(PREFIX) else "")

    def _ask_again(self, launch: _Launch) -> None:
        launch.asked_again = True
        for token in launch.keys:
            for elector in launch.asked[token]:
                if elector not in launch.heard[token]:
                    self._turn.send(elector, self._lookup(launch, token))
        self._turn.after(self._settings.inquiry_s / 2, "publish", "inquiry", str(launch.request))

    def found(self, peer: str, message: Found) -> None:
        """An elector answered an inquiry of a launch or of a search, or a convener a candidate's."""
        if message.record is not None and not message.key.startswith(PREVIOUS):
            self._orbits.accept(message.record)
        if message.token in self._searches:
            self._search_found(peer, message)
            return
        for launch in self._launches.values():
            if peer in launch.asked.get(message.token, ()):
                self._launch_found(launch, peer, message)
                return

    def _launch_found(self, launch: _Launch, peer: str, message: Found) -> None:
        token, asked = message.token, launch.asked[message.token]
        if message.key.startswith(PREFIX) and message.capsule not in ("", launch.record.name):
            launch.taken[token][peer] = message.capsule
            if len(asked) - len(launch.taken[token]) < needed(len(asked)):
                host = message.key.removeprefix(PREFIX)
                self._fail(launch, f"host {host} belongs to capsule {message.capsule}: choose another host")
            return
        launch.heard[token].add(peer)
        if message.key.startswith(PREVIOUS):
            self._look_at_previous(launch, message.record)
        launch.generation = max(launch.generation, message.generation)
        if not self._unheard(launch):
            self._sign(launch)

    @staticmethod
    def _unheard(launch: _Launch) -> list[int]:
        """Inquiries that too few electors answered, or answered for us."""
        return [t for t, asked in launch.asked.items() if len(launch.heard[t]) < needed(len(asked))]

    def _give_up_asking(self, launch: _Launch) -> None:
        """A generation may be guessed from what is known here; a host has to be given."""
        for token in self._unheard(launch):
            if launch.keys[token].startswith(PREFIX):
                said = launch.heard[token].union(launch.taken[token])
                silent = [self._members.name_of(peer) for peer in launch.asked[token] if peer not in said]
                host = launch.keys[token].removeprefix(PREFIX)
                why = (
                    f"too few of the nodes that know who has host {host} answered ({', '.join(silent)} did not)"
                )
                self._fail(launch, f"{why}; try again")
                return
        self._sign(launch)

    def _sign(self, launch: _Launch) -> None:
        if launch.signing:
            return
        if launch.rolls_back:
            self._roll_back_to(launch)
            return
        launch.signing = True
        self._turn.timers.cancel(("publish", "inquiry", str(launch.request)))
        known = self._orbits.newest(launch.record.name)
        if launch.record.withdrawn and not self._is_there(launch, known):
            return
        if known and content_of(known.record) == content_of(launch.record):
            self._hold(launch, known)
            return
        launch.changed = True
        generation = max(launch.generation, self._orbits.generation_of(launch.record.name)) + 1
        self._turn.do(Sign(launch.request, replace(launch.record, generation=generation)))

    def _is_there(self, launch: _Launch, known: Held | None) -> bool:
        """Whether there is something to withdraw; else the launch is over. It knows its orbit by then."""
        if known is None:
            self._fail(launch, "no capsule of this name orbits; falak capsules lists those that do")
            return False
        if known.record.withdrawn:
            self._hold(launch, known)  # withdrawn before: it only has to be kept
            return False
        wall_s = self._orbits.presence.wall_s()
        until_s = int(wall_s) + TOMBSTONE_S if wall_s else 0
        launch.record = replace(launch.record, orbit=known.record.orbit, not_after_s=until_s)
        return True

    def signed(self, event: Signed) -> None:
        """Our record is signed: let it orbit."""
        launch = self._launches.get(event.request)
        if launch is None:
            return
        held = self._orbits.accept(event.record, announced=True)
        if held is None:
            self._fail(launch, "a newer generation appeared meanwhile, or this node's records are full")
            return
        self._turn.gossip(self._orbits.topic(held.record.orbit), Announce(event.record))
        self._hold(launch, held)

    def _hold(self, launch: _Launch, held: Held) -> None:
        launch.held = held
        name = held.record.name
        wanted = self._keepers_for(launch, name)
        for elector in self._orbits.electors_of(name):
            if elector == self._turn.me or elector in launch.kept_by:
                continue
            if elector in wanted:
                launch.keepers.add(elector)
                self._turn.send(elector, Keep(held.signed))
            else:
                self._turn.send(elector, Announce(held.signed))
        self._turn.after(1.0, "publish", "again", str(launch.request))
        self._conclude(launch)

    def _keepers_for(self, launch: _Launch, name: str) -> set[str]:
        """The keepers, and for each that said it cannot the next elector."""
        keepers = self._orbits.keepers_of(name)
        others = [elector for elector in self._orbits.electors_of(name) if elector not in keepers]
        refused = sum(1 for keeper in launch.refusals if keeper not in launch.kept_by)
        return {*keepers, *others[:refused]}

    def kept(self, peer: str, message: Kept) -> None:
        """A keeper has it, or says why not."""
        for launch in list(self._launches.values()):
            if launch.held and launch.held.digest == message.digest and peer in launch.keepers:
                if message.why:
                    new = peer not in launch.refusals
                    launch.refusals[peer] = message.why
                    if new:
                        self._hold(launch, launch.held)
                else:
                    launch.kept_by.add(peer)
                self._conclude(launch)

    def record_changed(self, name: str) -> None:
        """A launch under way whose record is not the newest any more has failed."""
        for launch in list(self._launches.values()):
            newest = self._orbits.newest(name)
            if newest and launch.held and launch.record.name == name and launch.held.digest != newest.digest:
                who = self._members.name_of(newest.signed.publisher)
                self._fail(launch, f"generation {newest.record.generation}, published at {who}, replaced it")

    def progressed(self) -> None:
        """Something was stored or fetched here: a launch of a node that is alone may be done."""
        for launch in list(self._launches.values()):
            self._conclude(launch)

    def _conclude(self, launch: _Launch) -> None:
        held = launch.held
        if held is None:
            return
        others = len(self._members.present()) - 1
        enough = len(launch.kept_by) >= min(OTHERS_WANTED, others)
        if enough and (others > 0 or self._orbits.is_kept(held.record.name)):
            names = tuple(sorted(self._members.name_of(peer) for peer in launch.kept_by))
            self._end(launch)
            generation = held.record.generation
            self._turn.do(Published(launch.request, held.record.name, generation, names, launch.changed))

    def _fail(self, launch: _Launch, why: str) -> None:
        self._end(launch)
        self._turn.do(Published(launch.request, launch.record.name, 0, (), False, why))

    def _end(self, launch: _Launch) -> None:
        self._launches.pop(launch.request, None)
        for timer in ("inquiry", "deadline", "again"):
            self._turn.timers.cancel(("publish", timer, str(launch.request)))

    def due(self, what: str, which: str) -> None:
        """A timer of this room fired."""
        if what == "search":
            self._search_due(int(which))
            return
        launch = self._launches.get(int(which))
        if launch is None:
            return
        if what == "inquiry" and not launch.asked_again:
            self._ask_again(launch)
        elif what == "inquiry":
            self._give_up_asking(launch)
        elif what == "again" and launch.held:
            self._hold(launch, launch.held)
        elif what == "deadline":
            told = [f"{self._members.name_of(p)}: {why}" for p, why in sorted(launch.refusals.items())]
            others = len(self._members.present()) - 1
            self._fail(
                launch,
                f"kept by {len(launch.kept_by)} of {min(OTHERS_WANTED, others)} others within "
                f"{self._settings.publish_s:g} s" + (f" ({'; '.join(told)})" if told else ""),
            )

    # --- searching what requests name and this node does not know ------------------------------------------

    def wanted(self, key: str) -> None:
        """Requests are parked for a host without a route here: ask the directory."""
        host = key.removeprefix(PREFIX)
        if any(search.key == key for search in self._searches.values()):
            return
        if self._unknown.get(key, 0.0) > self._turn.now:
            self._refuse_unknown(key)
        elif len(self._searches) + len(self._before_joined) >= self._settings.searches_max:
            self._turn.do(Refuse(key, 503, "too many unknown hosts are being looked up; try again", 1))
        elif not self._members.joined:
            self._before_joined[key] = None
        elif host.endswith(".localhost"):
            self._search(key, host.removesuffix(".localhost"))
        else:
            self._search(key, key)

    def forgone(self, key: str) -> None:
        """Nobody waits for a host any more."""
        self._before_joined.pop(key, None)

    def joined(self) -> None:
        """Hosts asked for before this node was part of the mesh are searched now."""
        waiting, self._before_joined = self._before_joined, {}
        for key in waiting:
            self.wanted(key)

    def _search(self, key: str, name: str) -> None:
        self._token += 1
        electors = self._orbits.electors_of(name)
        self._searches[self._token] = _Search(key, name, electors, set(electors))
        self._turn.after(self._settings.inquiry_s / 2, "publish", "search", str(self._token))
        for elector in electors:
            self._turn.send(elector, Lookup(name, self._token))

    def _search_found(self, peer: str, message: Found) -> None:
        search = self._searches[message.token]
        search.missing.discard(peer)
        if message.record is not None and self._orbits.get(search.name):
            self._close(message.token)
            self._turn.do(Retry(search.key))
            host = search.key.removeprefix(PREFIX)
            self._turn.do(Refuse(search.key, 404, f"{search.name} has no route for this path at {host}", 0))
        elif message.capsule and message.key == search.name and message.record is None:
            self._close(message.token)
            self._search(search.key, message.capsule)
        elif not search.missing:
            self._conclude_search(message.token)

    def _search_due(self, token: int) -> None:
        search = self._searches.get(token)
        if search is None:
            return
        if search.asked_again:
            self._conclude_search(token)
            return
        search.asked_again = True
        for elector in sorted(search.missing):
            self._turn.send(elector, Lookup(search.name, token))
        self._turn.after(self._settings.inquiry_s / 2, "publish", "search", str(token))

    def _conclude_search(self, token: int) -> None:
        """Nothing was found. It is unknown where enough electors said so."""
        search = self._close(token)
        if search is None:
            return
        if len(search.electors) - len(search.missing) < needed(len(search.electors)):
            silent = ", ".join(self._members.name_of(peer) for peer in sorted(search.missing))
            self._turn.do(Refuse(search.key, 503, f"its electors did not answer ({silent}); try again", 1))
            return
        if len(self._unknown) >= UNKNOWN_MAX:
            self._unknown.clear()
        self._unknown[search.key] = self._turn.now + self._settings.unknown_s
        self._refuse_unknown(search.key)

    def _refuse_unknown(self, key: str) -> None:
        host = key.removeprefix(PREFIX)
        known = default_host("NAME")
        self._turn.do(Refuse(key, 404, f"no capsule answers at {host} (a capsule answers at {known})", 0))

    def _close(self, token: int) -> _Search | None:
        self._turn.timers.cancel(("publish", "search", str(token)))
        return self._searches.pop(token, None)
