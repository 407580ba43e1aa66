"""What one node tells another about itself: the parts that listings over the mesh are gathered from.

Owns the words between nodes: msgpack ``[VERSION, op, arguments]``, answered ``[True, value]`` or
``[False, why]``. An answer is at most one message; where there is more to tell, the newest is told. What cannot
be read is answered with the reason, never raised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

import falak
from falak.api.desk import Desk
from falak.core.events import Drain
from falak.core.model import UNREADABLE
from falak.core.settings import MESSAGE_MAX_BYTES
from falak.seam import LATENCY_BUCKETS_US, WASMTIME_VERSION

VERSION: Final = 1
ITEMS_MAX: Final = 2000
"""Events or log lines in one answer."""
ANSWER_MAX_BYTES: Final = MESSAGE_MAX_BYTES - 1024

Arguments = dict[str, Any]


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """The arguments of any of these."""

    capsule: str = ""
    after: int = 0
    drain: bool | None = None


_ENVELOPE: Final = msgspec.msgpack.Decoder(tuple[int, str, Wish])
_ANSWER: Final = msgspec.msgpack.Decoder(tuple[bool, Any])


def _value_in(data: bytes) -> Any:
    try:
        ok, value = _ANSWER.decode(data)
    except UNREADABLE:
        raise ValueError("its answer cannot be read") from None
    if not ok:
        raise ValueError(str(value))
    return value


async def ask(desk: Desk, peer: str, op: str, arguments: Arguments, deadline_s: float) -> Any:
    """Ask a member that is linked: the value in its answer. Raises ``PeerError``, and ``ValueError`` with the
    peer's reason, or with ours."""
    data = msgspec.msgpack.encode((VERSION, op, arguments))
    return _value_in(await desk.ask(peer, data, deadline_s))


def answer(desk: Desk, data: bytes) -> bytes:
    """The answer to a peer's ask, always at most one message."""
    try:
        version, op, wish = _ENVELOPE.decode(data)
    except UNREADABLE:
        return msgspec.msgpack.encode((False, "the question cannot be read"))
    tell = _TOLD.get(op)
    if version != VERSION or tell is None:
        return msgspec.msgpack.encode((False, f"{op} (version {version}) is not known here: update this node"))
    return _fitting(tell(desk, wish))


def _fitting(value: dict[str, Any]) -> bytes:
    """Encode, with fewer of the oldest items until it fits."""
    items = value.get("items", [])
    kept = min(len(items), ITEMS_MAX)
    while True:
        if items:
            value["items"] = items[len(items) - kept :]
        data = msgspec.msgpack.encode((True, value))
        if len(data) <= ANSWER_MAX_BYTES or not kept:
            return data
        kept //= 2


def told_version(desk: Desk, wish: Wish) -> dict[str, Any]:
    """What runs here."""
    return {"version": falak.__version__, "wasmtime": WASMTIME_VERSION}


def told_events(desk: Desk, wish: Wish) -> dict[str, Any]:
    """Events of this node; ``boot`` says which run the numbers belong to."""
    return {"boot": desk.node.me.boot, "items": desk.notes.after(wish.after, wish.capsule)}


def told_logs(desk: Desk, wish: Wish) -> dict[str, Any]:
    """Lines that the capsule's copies here wrote."""
    lines = desk.gateway.logs(wish.capsule, wish.after)
    name = desk.node.me.name
    items = [{"node": name, "n": n, "at": at, "stream": stream, "text": text} for n, at, stream, text in lines]
    return {"boot": desk.node.me.boot, "items": items}


def told_ps(desk: Desk, wish: Wish) -> dict[str, Any]:
    """The copies here, with the gateway's numbers of their capsules. What a candidate starts before it has won
    is no copy yet: most of those are cancelled a moment later."""
    me, stats = desk.node.me, desk.gateway.stats()
    rows = []
    for copy in filter(lambda copy: copy.confirmed, desk.node.momentum.copies.values()):
        row: dict[str, Any] = {
            "capsule": copy.name,
            "version": copy.record.version,
            "generation": copy.record.generation,
            "node": me.name,
            "node_id": me.id,
            "slot": copy.slot,
            "state": copy.state,
            "since_s": desk.age_s(copy.since),
            "load_ms": round(copy.load_s * 1000, 3),
            "memory_limit_bytes": copy.record.limits.memory_bytes,
        }
        rows.append(row | numbers_of(stats.get(copy.name, {})))
    return {"items": rows}


def told_drain(desk: Desk, wish: Wish) -> dict[str, Any]:
    """This node drains from now on, or serves again (``drain`` says which; without it nothing changes). How it
    is with that."""
    if wish.drain is not None:
        desk.tell(Drain(wish.drain))
    return {"state": desk.node.draining.state, "copies": len(desk.node.momentum.copies)}


def numbers_of(stats: dict[str, Any]) -> dict[str, Any]:
    """A capsule's numbers for people, out of the gateway's."""
    latency = stats.get("latency", ())
    return {
        "requests": stats.get("requests", 0),
        "errors": stats.get("responses", {}).get("5xx", 0),
        "parked": stats.get("parked", 0),
        "in_flight": stats.get("in_flight", 0),
        "p50_ms": percentile_ms(latency, 0.5),
        "p99_ms": percentile_ms(latency, 0.99),
    }


def percentile_ms(counts: list[int] | tuple[int, ...], share: float) -> float:
    """Milliseconds that the given share (0..1) of requests took at most, by the gateway's buckets: the upper
    bound of the bucket, or the last bound for what lies above it. 0.0 for no requests."""
    total = sum(counts)
    reached = 0
    for at, amount in enumerate(counts):
        reached += amount
        if total and reached >= share * total:
            return LATENCY_BUCKETS_US[min(at, len(LATENCY_BUCKETS_US) - 1)] / 1000
    return 0.0


_TOLD: Final[dict[str, Callable[[Desk, Wish], dict[str, Any]]]] = {
    "version": told_version,
    "events": told_events,
    "logs": told_logs,
    "ps": told_ps,
    "drain": told_drain,
}
