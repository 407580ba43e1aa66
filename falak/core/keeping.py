"""What a keeper has on its disk for others: records, tombstones, previous generations, and whether it can store.

Owns what is being written, who waits for it, and the state of this node's disk as the core sees it. It decides no
order between records (``orbits`` does) and fetches nothing by itself. One file a name: a newer record, or its
tombstone, replaces the older one; the generation before the newest has another one (for a rollback).

A disk that takes nothing is said in this node's profile: others keep in its stead, until a write that is tried
every ``disk_again_s`` succeeds. A write that fails leaves what was there before (the driver's promise).
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from falak.core.artifacts import HERE, Artifacts
from falak.core.effects import Persist
from falak.core.events import Persisted
from falak.core.model import Record, SignedRecord, clip, record_in
from falak.core.settings import Settings
from falak.core.turn import Turn
from falak.core.wire import Keep, Kept

PROBE: Final = "probe"
"""The key under which a disk that failed is tried again."""


class Held(msgspec.Struct):
    """A record as it is held here, since when. ``stored``: on this node's disk; ``storing``: on its way."""

    record: Record
    signed: SignedRecord
    digest: bytes
    stored: bool = False
    since: float = 0.0
    storing: bool = False


class Shelf(Protocol):
    """The room of records, as this one sees it."""

    def newest(self, name: str) -> Held | None:
        """The newest record or tombstone of a name."""

    def accept(self, signed: SignedRecord, announced: bool = False) -> Held | None:
        """Take in a record."""

    def fetch(self, held: Held, sources: tuple[str, ...]) -> None:
        """Get its artifacts."""

    def members_changed(self) -> None:
        """Who keeps what is another question now."""


class Keeping:
    """The room. ``disk_why``: why this node's disk takes nothing ("" while it does)."""

    def __init__(self, turn: Turn, settings: Settings, artifacts: Artifacts, shelf: Shelf) -> None:
        self._turn, self._settings, self._artifacts, self._shelf = turn, settings, artifacts, shelf
        self.disk_why = ""
        self.previous: dict[str, SignedRecord] = {}
        self._waiting: dict[str, set[str]] = {}
        self._writing: dict[str, int] = {}

    def sizes(self) -> dict[str, tuple[int, int]]:
        """What is kept here and its limit, by name."""
        most = self._settings.records_max
        return {
            "previous records": (len(self.previous), most),
            "records others wait for": (len(self._waiting), most),
        }

    # --- asked by a publisher ----------------------------------------------------------------------------

    def keep(self, peer: str, message: Keep) -> None:
        """A publisher asks us to keep its record and artifacts; answered once both are on disk here."""
        held = self._shelf.accept(message.record, announced=True)
        if held is None:
            digest = message.record.digest
            record = record_in(message.record)
            name = record.name if record else ""
            self._turn.send(peer, Kept(name, digest, "a newer generation is known, or it cannot be read"))
            return
        self._waiting.setdefault(held.record.name, set()).add(peer)
        self.store(held)
        self._shelf.fetch(held, (peer, held.signed.publisher))
        self._answer(held.record.name)

    def is_kept(self, name: str) -> bool:
        """Whether this node has the record on disk and all artifacts."""
        held = self._shelf.newest(name)
        return bool(held and held.stored) and self.has_artifacts(name)

    def has_artifacts(self, name: str) -> bool:
        """Whether all artifacts of the record are here."""
        held = self._shelf.newest(name)
        return held is not None and all(self._artifacts.level(a.digest) >= HERE for a in held.record.artifacts)

    def artifact_changed(self, digest: str, why: str) -> None:
        """An artifact is here now, or will not be."""
        for name in list(self._waiting):
            held = self._shelf.newest(name)
            if held and any(a.digest == digest for a in held.record.artifacts):
                if why:
                    self._fail(name, why)
                else:
                    self._answer(name)

    def _answer(self, name: str) -> None:
        held = self._shelf.newest(name)
        if held and name in self._waiting and self.is_kept(name):
            for peer in sorted(self._waiting.pop(name)):
                self._turn.send(peer, Kept(name, held.digest))

    def _fail(self, name: str, why: str) -> None:
        held = self._shelf.newest(name)
        for peer in sorted(self._waiting.pop(name, ())):
            self._turn.send(peer, Kept(name, held.digest if held else b"", clip(why)))

    def found(self, previous: tuple[SignedRecord, ...]) -> None:
        """Generations before the newest that were on the disk."""
        for signed in previous[: self._settings.records_max]:
            record = record_in(signed)
            if record and record.name:
                self.previous[record.name] = signed

    # --- the disk ----------------------------------------------------------------------------------------

    def store(self, held: Held) -> None:
        """See to it that a record is on this node's disk, and the one before it."""
        if held.stored or held.storing:
            return
        held.storing = True
        name = held.record.name
        self._writing[name] = self._writing.get(name, 0) + 1
        self._turn.do(Persist(f"record/{name}", msgspec.msgpack.encode(held.signed)))
        before = self.previous.get(name)
        if before:
            self._turn.do(Persist(f"previous/{name}", msgspec.msgpack.encode(before)))

    def replaced(self, old: Held, held: Held) -> None:
        """A newer generation came: the older one is kept for a rollback. A tombstone ends that, too."""
        name = held.record.name
        if not held.record.withdrawn:
            self.previous.pop(name, None)
            self.previous[name] = old.signed
            if len(self.previous) > self._settings.records_max:
                self._forget_previous(next(iter(self.previous)), True)
        else:
            self._forget_previous(name, old.stored or old.storing)

    def ended(self, held: Held) -> None:
        """A record is over: nothing of it stays on the disk."""
        name = held.record.name
        self._fail(name, "it is over")
        self._forget_previous(name, held.stored or held.storing)
        if held.stored or held.storing:
            self.erase(name)

    def erase(self, name: str) -> None:
        """Remove a name's record from the disk."""
        self._turn.do(Persist(f"record/{name}", b""))

    def _forget_previous(self, name: str, on_disk: bool) -> None:
        if self.previous.pop(name, None) and on_disk:
            self._turn.do(Persist(f"previous/{name}", b""))

    def persisted(self, event: Persisted) -> None:
        """The disk has something, or could not take it."""
        self._see_disk(event.why)
        name = event.key.removeprefix("record/")
        if name == event.key or name not in self._writing:
            return
        self._writing[name] -= 1
        if self._writing[name] > 0:
            return  # of an older record: a newer one is on its way
        del self._writing[name]
        held = self._shelf.newest(name)
        if held is None:
            return
        held.storing = False
        if event.why:
            self._turn.note("capsule.not_stored", capsule=name, reason=event.why)
            self._fail(name, event.why)
        else:
            held.stored = True
            self._answer(name)

    def _see_disk(self, why: str) -> None:
        if why and not self.disk_why:
            self._turn.note("node.disk_failed", reason=why)
            self._turn.after(self._settings.disk_again_s, "keeping", "probe")
        elif self.disk_why and not why:
            self._turn.note("node.disk_works", reason=self.disk_why)
        changed, self.disk_why = bool(why) != bool(self.disk_why), why
        if changed:
            self._shelf.members_changed()

    def due(self) -> None:
        """Time to try the disk again."""
        if self.disk_why:
            self._turn.do(Persist(PROBE, b"?"))
            self._turn.after(self._settings.disk_again_s, "keeping", "probe")
