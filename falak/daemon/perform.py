"""The core's effects, carried out: one function an effect, a table by type. Owns no state and no decision.

A function begins its effect and returns the event it yields at once, if it yields one; what takes time answers
later through the loop. None of them blocks, none raises for what the outside did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from falak.api.notes import Notes
from falak.core import effects as ef
from falak.core import events as ev
from falak.core.model import SignedRecord, encode_record
from falak.daemon.disk import Disk
from falak.gateway.front import Front
from falak.mesh.links import Links
from falak.runtimes.protocol import Runtime
from falak.seam import Mesh, sign
from falak.snapshots.store import Store


class Rooms(msgspec.Struct, frozen=True):
    """Everything that effects act on. ``runtimes`` are by a record's word for them; ``running`` says which of
    them has an instance."""

    me: str
    key_seed: bytes
    mesh: Mesh
    links: Links
    front: Front
    store: Store
    disk: Disk
    notes: Notes
    runtimes: Mapping[str, Runtime]
    running: dict[int, Runtime]
    published: Callable[[ef.Published], None]
    joined: Callable[[ef.Joined], None]
    left: Callable[[], None]


Done = ev.Event | None


def send(rooms: Rooms, effect: ef.Send) -> Done:
    """A message to a peer."""
    return rooms.links.send(effect)


def gossip(rooms: Rooms, effect: ef.Gossip) -> None:
    """A message to a topic."""
    rooms.links.gossip(effect)


def subscribe(rooms: Rooms, effect: ef.Subscribe) -> None:
    """Hear a topic."""
    rooms.links.subscribe(effect)


def dial(rooms: Rooms, effect: ef.Dial) -> Done:
    """Connect."""
    return rooms.links.dial(effect)


def hangup(rooms: Rooms, effect: ef.Hangup) -> None:
    """Close the links with a peer."""
    rooms.links.hangup(effect)


def beat(rooms: Rooms, effect: ef.Beat) -> None:
    """Exchange beats, or stop."""
    rooms.links.beat(effect)


def persist(rooms: Rooms, effect: ef.Persist) -> Done:
    """Write to the disk; ``Persisted`` follows."""
    return rooms.disk.persist(effect)


def sign_record(rooms: Rooms, effect: ef.Sign) -> Done:
    """Sign with this node's key: microseconds, so here and now."""
    data = encode_record(effect.record)
    return ev.Signed(effect.request, SignedRecord(data, rooms.me, sign(rooms.key_seed, data)))


def fetch(rooms: Rooms, effect: ef.Fetch) -> Done:
    """Copy an artifact from a peer; ``Fetched`` follows."""
    return rooms.store.fetch(rooms.mesh, effect)


def prepare(rooms: Rooms, effect: ef.Prepare) -> Done:
    """Make an artifact ready; ``Prepared`` follows."""
    runtime = rooms.runtimes.get(effect.runtime)
    if runtime is None:
        return ev.Prepared(effect.artifact.digest, f"this node has no runtime {effect.runtime}")
    runtime.prepare(effect.artifact)
    return None


def start(rooms: Rooms, effect: ef.Start) -> Done:
    """Start a copy; ``Started`` or ``StartFailed`` follows."""
    runtime = rooms.runtimes.get(effect.record.runtime)
    if runtime is None:
        return ev.StartFailed(effect.instance, f"this node has no runtime {effect.record.runtime}", False)
    rooms.running[effect.instance] = runtime
    runtime.start(effect.instance, effect.record)
    return None


def drain_copy(rooms: Rooms, effect: ef.DrainCopy) -> None:
    """Wait until a copy has nothing under way; ``Drained`` follows."""
    rooms.front.drain(effect)


def stop(rooms: Rooms, effect: ef.Stop) -> Done:
    """End a copy; ``Ended`` follows."""
    rooms.front.stopped(effect.instance)
    runtime = rooms.running.pop(effect.instance, None)
    if runtime is not None:
        runtime.stop(effect.instance)
    return None


def set_endpoints(rooms: Rooms, effect: ef.SetEndpoints) -> None:
    """Where a capsule's requests go."""
    rooms.front.set_endpoints(effect)


def set_routes(rooms: Rooms, effect: ef.SetRoutes) -> None:
    """Which capsule a request is for."""
    rooms.front.set_routes(effect)


def retry(rooms: Rooms, effect: ef.Retry) -> None:
    """Match requests parked under a host again."""
    rooms.front.retry(effect)


def refuse(rooms: Rooms, effect: ef.Refuse) -> None:
    """Answer requests parked under a key with a reason."""
    rooms.front.refuse(effect)


def published(rooms: Rooms, effect: ef.Published) -> None:
    """Tell whoever launched."""
    rooms.published(effect)


def joined(rooms: Rooms, effect: ef.Joined) -> None:
    """Tell whoever waits for this node to be part of the mesh."""
    rooms.joined(effect)


def left(rooms: Rooms, effect: ef.Left) -> None:
    """Tell whoever waits for this node's end."""
    rooms.left()


def note(rooms: Rooms, effect: ef.Note) -> None:
    """Keep a visible event."""
    rooms.notes.add(effect)


TABLE: Final[dict[type, Callable[[Rooms, Any], Done]]] = {
    ef.Send: send,
    ef.Gossip: gossip,
    ef.Subscribe: subscribe,
    ef.Dial: dial,
    ef.Hangup: hangup,
    ef.Beat: beat,
    ef.Persist: persist,
    ef.Sign: sign_record,
    ef.Fetch: fetch,
    ef.Prepare: prepare,
    ef.Start: start,
    ef.DrainCopy: drain_copy,
    ef.Left: left,
    ef.Stop: stop,
    ef.SetEndpoints: set_endpoints,
    ef.SetRoutes: set_routes,
    ef.Retry: retry,
    ef.Refuse: refuse,
    ef.Published: published,
    ef.Joined: joined,
    ef.Note: note,
}


def perform(rooms: Rooms, effect: ef.Effect) -> Done:
    """Begin one effect."""
    return TABLE[type(effect)](rooms, effect)
