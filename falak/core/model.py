"""The nouns: node, capsule record, claim, and what they are made of. Values only, no behaviour of the mesh.

Everything here crosses the wire as a msgpack array (``array_like``), so fields are only ever added at the end.
Sizes are bytes, CPU is in thousandths of a core, gravity in 1/1,000,000.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Final

import msgspec

from falak.core.settings import EPOCH_MAX, GRAVITY_ONE

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A whole number on the wire. What lies outside its bounds, here and below, is no message at all."""
Epoch = Annotated[int, msgspec.Meta(ge=0, le=EPOCH_MAX)]
Gravity = Annotated[int, msgspec.Meta(ge=0, le=GRAVITY_ONE)]
"""Gravity in 1/1,000,000."""
Word = Annotated[str, msgspec.Meta(max_length=300)]
"""An id, a name, a key, a host, a cause."""
Text = Annotated[str, msgspec.Meta(max_length=4096)]
"""For people; see ``clip``."""

ALIVE: Final = "alive"
SUSPECT: Final = "suspect"
DROPPED: Final = "dropped"
LEFT: Final = "left"


class Value(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of all nouns: immutable, compared by value, encoded as an array."""


class Identity(Value, frozen=True):
    """Who a node is for one run: ``id`` is its PeerId, ``boot`` a random number of this start."""

    id: Word
    name: Word
    boot: Count
    cluster: Word = "main"
    zone: Word = ""


class Capacity(Value, frozen=True):
    """What a node has and what is left of it, reservations counted; ``load`` is in thousandths of its cores."""

    cpu_millis: Count = 0
    memory_bytes: Count = 0
    free_cpu_millis: Count = 0
    free_memory_bytes: Count = 0
    load_millis: Count = 0


class Profile(Value, frozen=True):
    """What a node says of itself in a hello and in every heartbeat. At most 1 KiB encoded. ``failures_milli``:
    what weighs against it for every capsule, copies that failed by its own fault, faded, in thousandths.
    ``cannot_store``: its disk takes nothing, so others keep in its stead. ``http``: the ``IP:PORT`` that its
    gateway listens on."""

    node: Identity
    incarnation: Count
    addresses: tuple[str, ...] = ()
    orbits: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    arch: Word = ""
    runtimes: tuple[str, ...] = ()
    capacity: Capacity = Capacity()
    draining: bool = False
    claims: Count = 0
    claims_digest: bytes = b""
    failures_milli: Count = 0
    cannot_store: bool = False
    http: Word = ""


class Artifact(Value, frozen=True):
    """A blob a capsule needs: sha256 as hex, its size, and what it is."""

    digest: str
    size_bytes: Count
    media_type: str


class Route(Value, frozen=True):
    """Requests for ``host`` whose path begins with the whole segments of ``prefix``."""

    host: str
    prefix: str = "/"


class Resources(Value, frozen=True):
    """What a running copy needs; 0 means undeclared."""

    cpu_millis: Count = 0
    memory_bytes: Count = 0


class Limits(Value, frozen=True):
    """What one request may use: linear memory, CPU time, wall time."""

    memory_bytes: Count = 128 * 1024 * 1024
    cpu_ms: Count = 10_000
    wall_ms: Count = 30_000


class Wishes(Value, frozen=True):
    """Where a capsule wants to run. ``prefer`` and ``require`` name tags, ``zone=Z`` or ``arch=A``; ``near``
    and ``away`` name other capsules; ``spread`` wants copies in different zones."""

    prefer: tuple[str, ...] = ()
    require: tuple[str, ...] = ()
    spread: bool = False
    near: str = ""
    away: str = ""


SLOTS_MAX: Final = 64
"""Copies of one capsule, whatever its record says: what one step can look at."""


class Scale(Value, frozen=True):
    """How many copies: at least ``min`` run without being asked for, at most ``max``; one more is started when
    all have ``concurrency`` requests at once (0: never)."""

    min: Count = 0
    max: Count = 1
    concurrency: Count = 0


class Record(Value, frozen=True):
    """A capsule as it orbits. At most 16 KiB encoded and signed; secrets are never in it. ``ttl_s``, ``keep`` and
    ``not_after_s`` (seconds since 1970, 0 for never) say how long it is visible. ``withdrawn``: this is a
    tombstone, the record that says so; its ``not_after_s`` is until when it is remembered."""

    name: str
    generation: Count
    version: str
    orbit: str
    kind: str = "function"
    runtime: str = "wasm"
    artifacts: tuple[Artifact, ...] = ()
    routes: tuple[Route, ...] = ()
    resources: Resources = Resources()
    limits: Limits = Limits()
    wishes: Wishes = Wishes()
    env: tuple[tuple[str, str], ...] = ()
    outgoing: tuple[str, ...] = ()
    ttl_s: Count = 300
    keep: bool = True
    idle_s: Count = 60
    scale: Scale = Scale()
    not_after_s: Count = 0
    withdrawn: bool = False


class SignedRecord(Value, frozen=True):
    """A record's bytes with its publisher's signature; the bytes are what is signed and what is addressed."""

    data: bytes
    publisher: str
    signature: bytes

    @property
    def digest(self) -> bytes:
        """16 bytes that name this content; the higher digest wins between equal generations."""
        return hashlib.blake2b(self.data, digest_size=16).digest()


class Claim(Value, frozen=True):
    """ "I run this capsule in this slot", as its holder says it. ``sequence`` rises with every word of the
    holder about it; ``ready`` is false while the copy starts."""

    capsule: Word
    generation: Count
    slot: Count
    holder: Word
    boot: Count
    sequence: Count
    epoch: Epoch
    gravity: Gravity
    ready: bool
    cause: Word = ""


class Vote(Value, frozen=True):
    """What an elector last said of a slot: the epoch it voted in and whom it leads there ("" for nobody)."""

    epoch: Epoch = 0
    leader: Word = ""


def content_of(record: Record) -> Record:
    """The record without its generation: equal contents published twice change nothing."""
    return msgspec.structs.replace(record, generation=0)


def encode_record(record: Record) -> bytes:
    """The one encoding of a record that is signed and hashed."""
    return msgspec.msgpack.encode(record)


_RECORD = msgspec.msgpack.Decoder(Record)
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not what they should be: malformed or of another type, text that is
not UTF-8, nesting without end."""


def decode_record(data: bytes) -> Record:
    """The inverse of ``encode_record``. Raises one of ``UNREADABLE``."""
    return _RECORD.decode(data)


def slots_max(record: Record) -> int:
    """Copies that the capsule may have: slots are numbered from 0 below this."""
    return max(1, min(record.scale.max, SLOTS_MAX))


def record_in(signed: SignedRecord) -> Record | None:
    """What a record says; None where it cannot be read."""
    try:
        return decode_record(signed.data)
    except UNREADABLE:
        return None


def clip(text: str) -> str:
    """What is said to people, short enough to cross the wire."""
    return text if len(text) <= 1000 else text[:997] + "..."


def slot_key(capsule: str, slot: int) -> str:
    """How a slot of a capsule is written for people and in keys."""
    return f"{capsule}/{slot}"
