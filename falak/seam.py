"""The seam: the native extension as core events, and the numbers it is started with.

Owns the translation of native tuples (``_native.pyi``) into core events or into the few events below that only
adapters use, and the check of what strangers sent: size, encoding, kind, profile, signature, soundness of a
record. What does not pass is dropped and counted in ``refused``; it never raises, and never touches the sender.
It decides nothing. No other module imports ``falak._native``; rooms take its objects from here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from falak import _native as native
from falak.core import events as ev
from falak.core import wire
from falak.core.model import SLOTS_MAX, Profile, Record, Route, SignedRecord, record_in
from falak.core.settings import GOSSIP_MAX_BYTES, MESSAGE_MAX_BYTES, NAME_MAX_CHARS, Settings

Mesh = native.Mesh
Gateway = native.Gateway
Events = native.Events
CPU: Final = native.CPU
WASMTIME_VERSION: Final = native.WASMTIME_VERSION
LATENCY_BUCKETS_US: Final = native.LATENCY_BUCKETS_US
compile_component = native.compile
inspect_component = native.inspect
peer_id = native.peer_id
sign = native.sign

HEARTBEAT_MAX_BYTES: Final = 1024
"""A heartbeat on the wire, and so the most that a profile takes. Every node of a mesh must have the same."""
PROFILE_ROOM_BYTES: Final = 80
"""What a heartbeat has around the profile, and what the profile's numbers may grow by."""
EVENTS_CAPACITY: Final = 65_536
"""Events that wait for the loop; gossip beyond it is dropped, streams are not read on."""
DRAIN_MAX: Final = 1024
"""Events taken at once. Larger: fewer calls. Smaller: timers and people are seen to in between."""

MESSAGE_QUEUE_FRAMES: Final = 4096
"""Frames that wait for one peer; more are undelivered."""
MESSAGE_WRITE_MS: Final = 2000
"""A peer that takes no frame for this long loses what waits for it."""
ASK_CONCURRENT: Final = 64
"""Requests of people's listings in flight a peer, in and out."""
HANDSHAKE_MS: Final = 3000
"""Larger: slow nodes get in. Smaller: silent connections block newcomers for less long."""
CONNECTIONS_MAX: Final = 1024
"""A full cell (256), doubled by two nodes that dial each other at once, and room for strangers."""
CONNECTIONS_PENDING_MAX: Final = 256
CONNECTIONS_PER_PEER_MAX: Final = 4
BEAT_MS: Final = 250
BEAT_SILENT_MS: Final = 1000
BEAT_STALE_MS: Final = 500
"""No beat goes out once the loop has not moved for this long: a stuck node is a silent one."""
GOSSIP_MESH: Final = 6
"""Peers a gossiped message is handed to at each step. Larger: more copies. Smaller: more steps."""
GOSSIP_HEARTBEAT_MS: Final = 1000
BLOB_IDLE_MS: Final = 5000
BLOB_CONCURRENT: Final = 16
HTTP_STREAMS_MAX: Final = 1024
"""Requests in flight from one other node; it refuses more itself."""
COMMAND_CAPACITY: Final = 65_536

PARK_COUNT_MAX: Final = 1024
"""Requests parked under one key; more get 503."""
PARK_TOTAL_MAX: Final = 16_384
PARK_BYTES_MAX: Final = 64 * 1024 * 1024
PARK_KEYS_MAX: Final = 4096
PARK_SLACK_MS: Final = 1000
"""A request waits this much longer than the call for it, so that the call's reason reaches the client."""
HEAD_MS: Final = 10_000
HEAD_MAX_BYTES: Final = 64 * 1024
BODY_IDLE_MS: Final = 30_000
REPLAY_MAX_BYTES: Final = 64 * 1024
FORWARD_OPEN_MS: Final = 1000
FORWARD_IDLE_STREAMS: Final = 16
HTTP_CONNECTIONS_MAX: Final = 10_000
INSTANCES_MAX: Final = 1000
"""WASM instances at once. Each reserves address space, memory only when it is touched."""
HEAVY_MAX: Final = 4
"""Guests past their slice that run at once, at low priority; the others wait."""
SLICE_MS: Final = 20
LOG_LINES_MAX: Final = 1000
LOG_LINE_MAX_BYTES: Final = 4096


class _Told(msgspec.Struct, frozen=True, gc=False):
    """An event for adapters only."""


class Listening(_Told, frozen=True):
    """A mesh address this node listens on, as native names it (without ``/p2p/ID``)."""

    address: str


class DialEnded(_Told, frozen=True):
    """A dial by its token: ``why`` is empty when it ended in a connection. ``answered_by``: who answered it
    instead of the peer that its address names ("" for nobody)."""

    token: int
    refused: bool = False
    why: str = ""
    answered_by: str = ""


class FramesLost(_Told, frozen=True):
    """``frames`` given to a peer's link were not written."""

    peer: str
    frames: int


class Asked(_Told, frozen=True):
    """A peer asks; it is owed one answer with the number ``ask``."""

    ask: int
    peer: str
    data: bytes


class AskAnswered(_Told, frozen=True):
    """What became of our ask: ``data``, or ``why`` there is none."""

    token: int
    data: bytes
    why: str = ""


class BlobFetched(_Told, frozen=True):
    """A fetch by its token; ``why`` is empty when the file is there, verified."""

    token: int
    why: str = ""


class Loaded(_Told, frozen=True):
    """A copy was loaded (``why`` is empty), or not."""

    instance: int
    load_s: float
    why: str = ""


class Fatal(_Told, frozen=True):
    """Native code panicked: the process must end."""

    why: str


Told = (
    ev.Event | Listening | DialEnded | FramesLost | Asked | AskAnswered | BlobFetched | Loaded | Fatal
)  # fmt: skip


def mesh_settings(memory_bytes: int) -> dict[str, int]:
    """What ``Mesh`` wants. New connections are refused once this process takes half of ``memory_bytes``."""
    return {
        "gossip_max_bytes": GOSSIP_MAX_BYTES,
        "message_max_bytes": MESSAGE_MAX_BYTES,
        "message_queue_frames": MESSAGE_QUEUE_FRAMES,
        "message_write_ms": MESSAGE_WRITE_MS,
        "ask_concurrent": ASK_CONCURRENT,
        "handshake_ms": HANDSHAKE_MS,
        "connections_max": CONNECTIONS_MAX,
        "connections_pending_max": CONNECTIONS_PENDING_MAX,
        "connections_per_peer_max": CONNECTIONS_PER_PEER_MAX,
        "memory_max_bytes": max(1024**3, memory_bytes // 2),
        "beat_ms": BEAT_MS,
        "beat_silent_ms": BEAT_SILENT_MS,
        "beat_stale_ms": BEAT_STALE_MS,
        "gossip_mesh": GOSSIP_MESH,
        "gossip_heartbeat_ms": GOSSIP_HEARTBEAT_MS,
        "blob_idle_ms": BLOB_IDLE_MS,
        "blob_concurrent": BLOB_CONCURRENT,
        "http_streams_max": HTTP_STREAMS_MAX,
        "command_capacity": COMMAND_CAPACITY,
    }


def gateway_settings(settings: Settings) -> dict[str, int]:
    """What ``Gateway`` wants: a request is parked a little longer than the call made for it may take."""
    return {
        "park_count_max": PARK_COUNT_MAX,
        "park_total_max": PARK_TOTAL_MAX,
        "park_bytes_max": PARK_BYTES_MAX,
        "park_ms": round(settings.call_deadline_s * 1000) + PARK_SLACK_MS,
        "keys_max": PARK_KEYS_MAX,
        "head_ms": HEAD_MS,
        "head_max_bytes": HEAD_MAX_BYTES,
        "body_idle_ms": BODY_IDLE_MS,
        "replay_max_bytes": REPLAY_MAX_BYTES,
        "forward_open_ms": FORWARD_OPEN_MS,
        "forward_idle_streams": FORWARD_IDLE_STREAMS,
        "connections_max": HTTP_CONNECTIONS_MAX,
        "instances_max": INSTANCES_MAX,
        "heavy_max": HEAVY_MAX,
        "slice_ms": SLICE_MS,
        "log_lines_max": LOG_LINES_MAX,
        "log_line_max_bytes": LOG_LINE_MAX_BYTES,
        "command_capacity": COMMAND_CAPACITY,
    }


def open_mesh(
    events: Events, *, key_seed: bytes, network_key: bytes, listen: str, blobs: Path, memory_bytes: int
) -> Mesh:
    """Start libp2p. Raises ``OSError`` where ``listen`` cannot be had, ``ValueError`` where it is none."""
    return Mesh(
        events,
        key_seed=key_seed,
        network_key=network_key,
        listen=[listen],
        blobs=str(blobs),
        settings=mesh_settings(memory_bytes),
    )


def open_gateway(events: Events, mesh: Mesh, *, listen: str, settings: Settings) -> Gateway:
    """Listen for HTTP. Raises as ``open_mesh``."""
    return Gateway(events, mesh, listen=listen, settings=gateway_settings(settings))


# --- what strangers sent ----------------------------------------------------------------------------------

_LABEL = re.compile(rf"(?=.{{1,{NAME_MAX_CHARS}}}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NUMBER_MAX: Final = 2**53
"""No size or time in a record is above this (what JSON carries exactly)."""
_BY_HEARTBEAT_TOPIC: Final = (wire.Heartbeat, wire.Goodbye, wire.Accused)


def is_label(name: str) -> bool:
    """Whether it is one DNS label in lower case: what capsules, orbits and nodes may be called."""
    return _LABEL.fullmatch(name) is not None


def is_digest(text: str) -> bool:
    """Whether it is the hex of a sha256: what may name an artifact's file."""
    return _SHA256.fullmatch(text) is not None


def flaw_of(signed: SignedRecord) -> str:
    """Why a record must not reach the core, as a fixed word for counting; "" when it may. A name becomes part
    of a path and a digest names a file, so both are held to their alphabet here, whoever signed them."""
    if not native.verify(signed.publisher, signed.data, signed.signature):
        return "record_signature"
    record = record_in(signed)
    if record is None:
        return "record_unreadable"
    return "" if is_sound(record) else "record_unsound"


def is_sound(record: Record) -> bool:
    """Whether every name, digest, host and number of a record is what it should be."""
    numbers = (
        record.ttl_s,
        record.not_after_s,
        record.generation,
        record.resources.cpu_millis,
        record.resources.memory_bytes,
        record.idle_s,
        record.scale.concurrency,
        record.limits.memory_bytes,
        record.limits.cpu_ms,
        record.limits.wall_ms,
        *(artifact.size_bytes for artifact in record.artifacts),
    )
    return (
        is_label(record.name)
        and is_label(record.orbit)
        and record.scale.min <= record.scale.max
        and 1 <= record.scale.max <= SLOTS_MAX
        and all(0 <= number <= _NUMBER_MAX for number in numbers)
        and all(is_digest(artifact.digest) for artifact in record.artifacts)
        and all(_is_route(route) for route in record.routes)
    )


def _is_route(route: Route) -> bool:
    """``NAME.localhost`` is the capsule NAME's by its name: no record may take it."""
    own = route.host.endswith(".localhost")
    return _HOST.fullmatch(route.host) is not None and route.prefix.startswith("/") and not own


def _profiles_in(message: wire.Message) -> tuple[Profile, ...]:
    match message:
        case wire.Hello(profile=profile) | wire.Introduced(profile) | wire.Heartbeat(profile=profile):
            return (profile,)
        case wire.Welcome(members):
            return members
        case _:
            return ()


def size_of(profile: Profile) -> int:
    """Bytes of a heartbeat with this profile, its numbers at their largest."""
    return len(msgspec.msgpack.encode(profile)) + PROFILE_ROOM_BYTES


def _is_fit(profile: Profile) -> bool:
    return is_label(profile.node.name) and len(msgspec.msgpack.encode(profile)) <= HEARTBEAT_MAX_BYTES


class Reader:
    """Turns native tuples into events. ``refused`` counts what was dropped, by fixed words."""

    def __init__(self, me: str) -> None:
        self._me = me
        self.refused: Counter[str] = Counter()
        self._by_kind: dict[int, Callable[[tuple[Any, ...]], Told | None]] = {
            native.LISTENING: lambda row: Listening(row[1]),
            native.LINK_UP: lambda row: ev.LinkUp(row[1], row[2], row[3]),
            native.LINK_DOWN: lambda row: ev.LinkDown(row[1], row[2]),
            native.DIALED: lambda row: DialEnded(row[1]),
            native.DIAL_FAILED: lambda row: DialEnded(
                row[1], row[3], row[4] or "no reason given", row[5] or ""
            ),
            native.MESSAGE: self._message,
            native.UNDELIVERED: lambda row: FramesLost(row[1], row[2]),
            native.GOSSIP: self._gossip,
            native.ASKED: lambda row: Asked(row[1], row[2], row[3]),
            native.ANSWERED: _answered,
            native.FETCHED: lambda row: BlobFetched(row[1], "" if row[2] else row[4] or "no reason given"),
            native.PEER_SILENT: lambda row: ev.PeerSilent(row[1], row[2] / 1000),
            native.PEER_BACK: lambda row: ev.PeerBack(row[1]),
            native.WANTED: lambda row: ev.Wanted(row[1]),
            native.FORGONE: lambda row: ev.Forgone(row[1]),
            native.FIRST_BYTE: lambda row: ev.Answered(row[1], row[2] / 1e6, row[3] / 1e6),
            native.NOT_HERE: lambda row: ev.NotHere(row[1], row[2]),
            native.UNREACHABLE: lambda row: ev.Unreachable(row[1], row[2]),
            native.LOADED: lambda row: Loaded(
                row[1], row[3] / 1e6, "" if row[2] else row[4] or "no reason given"
            ),
            native.CROWDED: lambda row: ev.Crowded(row[1]),
            native.FATAL: lambda row: Fatal(row[1]),
        }

    def read(self, row: tuple[Any, ...]) -> Told | None:
        """The event in a native tuple; None for what was dropped."""
        read = self._by_kind.get(row[0])
        if read is None:
            self.refused["native_kind"] += 1
            return None
        return read(row)

    def _message(self, row: tuple[Any, ...]) -> Told | None:
        _, peer, data = row
        try:
            message = self._decoded(data, MESSAGE_MAX_BYTES)
        except wire.Unreadable as error:
            return None if error.version is None else ev.OtherVersion(peer, error.version)
        return ev.Received(peer, message) if message is not None else None

    def _gossip(self, row: tuple[Any, ...]) -> Told | None:
        _, topic, source, _, data = row
        if source == self._me:
            return None
        try:
            message = self._decoded(data, GOSSIP_MAX_BYTES)
        except wire.Unreadable:
            return None
        if message is None:
            return None
        fits = (
            isinstance(message, _BY_HEARTBEAT_TOPIC)
            if "/heartbeat/" in topic
            else isinstance(message, wire.Announce | wire.Renewals)
        )
        if not fits:
            self.refused["gossip_kind"] += 1
            return None
        return ev.Received(source, message)

    def _decoded(self, data: bytes, limit_bytes: int) -> wire.Message | None:
        """None for what can be read and must not be taken in; counted, both. Raises ``Unreadable``."""
        try:
            message = wire.decode(data, limit_bytes)
        except wire.Unreadable as error:
            self.refused[f"message_{error.reason}"] += 1
            raise
        flaw = self._flaw(message, len(data))
        if flaw:
            self.refused[flaw] += 1
            return None
        return message

    @staticmethod
    def _flaw(message: wire.Message, size_bytes: int) -> str:
        if isinstance(message, wire.Heartbeat) and size_bytes > HEARTBEAT_MAX_BYTES:
            return "heartbeat_oversize"
        if not all(_is_fit(profile) for profile in _profiles_in(message)):
            return "profile_unsound"
        return next(filter(None, map(flaw_of, wire.records_in(message))), "")


def _answered(row: tuple[Any, ...]) -> Told:
    _, token, ok, value = row
    return AskAnswered(token, value) if ok else AskAnswered(token, b"", value or "no reason given")
