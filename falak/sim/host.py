"""One simulated machine: the core of a node, its disk, its runtime and its gateway. Owns the driver's duties.

It carries out the core's effects against the world it stands in. What survives a crash is the disk (persisted
values and artifacts) and the identity; everything else is made anew at a restart, with a new boot id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from falak.core import effects as ef
from falak.core import events as ev
from falak.core.model import Capacity, Identity, SignedRecord, encode_record
from falak.core.node import Node, Place
from falak.core.wire import decode, encode

if TYPE_CHECKING:
    from falak.sim.world import World

CPU_MILLIS = 4000
MEMORY_BYTES = 8 * 1024**3
PREPARE_S = 0.05
START_S = 0.0015
DISK_S = 0.0005


class Host:
    """A machine named ``name``; ``up`` says whether its process runs."""

    def __init__(self, world: World, name: str, place: Place, zone: str = "") -> None:
        self.world, self.name, self.place, self.zone = world, name, place, zone
        self.id = f"{name}-id"
        self.address = f"/sim/{name}"
        self.disk: dict[str, bytes] = {}
        self.artifacts: dict[str, None] = {}
        self.prepared: dict[str, None] = {}
        self.links: dict[str, None] = {}
        self.topics: dict[str, None] = {}
        self.instances: dict[int, str] = {}
        self.joined = False
        self.refused_join = ""
        self.up = False
        self.paused = False
        self.runs = 0
        self.node: Node
        self.gateway = world.new_gateway(self)

    # --- the process -------------------------------------------------------------------------------------

    def start(self, contacts: tuple[str, ...] = ()) -> None:
        """Start the process: a new boot with whatever the disk kept."""
        self.runs += 1
        self.up, self.joined = True, False
        self.links, self.topics, self.instances = {}, {}, {}
        boot = self.world.rng.getrandbits(32)
        me = Identity(self.id, self.name, boot, "main", self.zone)
        self.node = Node(me, self.place, self.world.settings, self.world.rng.getrandbits(32))
        self.gateway.reset()
        incarnation = int(self.disk.get("incarnation", b"0")) + 1
        kept = [v for k, v in sorted(self.disk.items()) if k.startswith("record/") and v]
        self.step(ev.Sampled(Capacity(CPU_MILLIS, MEMORY_BYTES, CPU_MILLIS, MEMORY_BYTES, 0)))
        self.step(
            ev.Begin(
                incarnation,
                (self.address,),
                contacts,
                bool(contacts),
                tuple(msgspec.msgpack.decode(v, type=SignedRecord) for v in kept),
                tuple(self.artifacts),
            )
        )

    def crash(self) -> None:
        """The process dies; its sockets close."""
        self.up = False
        self.gateway.lose_all()
        for peer in list(self.links):
            self.world.break_link(self.id, peer, "closed")

    def step(self, event: ev.Event) -> None:
        """Tell the core, carry out what it wants, and owe it its next tick."""
        if not self.up:
            return
        if self.paused:
            self.world.after(0.001, lambda: self.step(event))
            return
        self.world.traced(self, event)
        for effect in self.node.step(event, self.world.now):
            self.world.traced(self, effect)
            self._perform(effect)
        self.world.check(self)
        self._owe_tick()

    def _owe_tick(self) -> None:
        due = self.node.next_deadline()
        if due is not None:
            run = self.runs
            self.world.at(max(due, self.world.now), lambda: self._tick(run))

    def _tick(self, run: int) -> None:
        due = self.node.next_deadline() if self.up else None
        if run == self.runs and due is not None and due <= self.world.now:
            self.step(ev.Tick())

    def later(self, delay_s: float, event: ev.Event) -> None:
        """Step an event later, unless this run is over by then."""
        run = self.runs
        self.world.after(delay_s, lambda: self.step(event) if run == self.runs else None)

    # --- effects -----------------------------------------------------------------------------------------

    def _perform(self, effect: ef.Effect) -> None:
        match effect:
            case ef.Send(peer, message):
                self.world.send(self, peer, decode(encode(message)))
            case ef.Gossip(topic, message):
                self.world.gossip(self, topic, decode(encode(message)))
            case ef.Subscribe(topic):
                self.topics[topic] = None
            case ef.Dial(peer, address):
                self.world.dial(self, peer, address)
            case ef.Hangup(peer):
                self.world.break_link(self.id, peer, "hung up")
            case ef.SetEndpoints() | ef.SetRoutes() | ef.Retry() | ef.Refuse():
                self.gateway.perform(effect)
            case ef.Joined(why):
                self.joined, self.refused_join = not why, why
            case ef.Published():
                self.world.published(effect)
            case ef.Note():
                self.world.noted(self, effect)
            case ef.Beat():
                pass
            case _:
                self._perform_local(effect)

    def _perform_local(self, effect: ef.Effect) -> None:
        match effect:
            case ef.Persist(key, value):
                self.disk[key] = value
                self.later(DISK_S, ev.Persisted(key))
            case ef.Sign(request, record):
                data = encode_record(record)
                self.later(0.0, ev.Signed(request, SignedRecord(data, self.id, b"sim")))
            case ef.Fetch(artifact, peer):
                self._fetch(artifact.digest, peer)
            case ef.Prepare(artifact):
                self.prepared[artifact.digest] = None
                self.later(PREPARE_S, ev.Prepared(artifact.digest))
            case ef.Start(instance, record):
                self._start_copy(instance, record.name)
            case ef.Stop(instance, why):
                self.instances.pop(instance, None)
                self.later(0.0, ev.Ended(instance, why))

    def _fetch(self, digest: str, peer: str) -> None:
        source = self.world.by_id.get(peer)
        if source and source.up and digest in source.artifacts and self.world.network.connected(self.id, peer):
            self.artifacts[digest] = None
            self.later(0.01, ev.Fetched(digest, peer))
        else:
            self.later(0.01, ev.Fetched(digest, peer, "the peer does not have it"))

    def _start_copy(self, instance: int, name: str) -> None:
        why = self.world.start_fault(self, name)
        if why:
            self.later(START_S, ev.StartFailed(instance, why, False))
        else:
            self.instances[instance] = name
            self.later(START_S, ev.Started(instance, START_S))
