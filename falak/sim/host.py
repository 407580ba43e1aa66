"""One simulated machine: the core of a node, its disk, its runtime and its gateway. Owns the driver's duties.

It carries out the core's effects against the world it stands in. What survives a crash is the disk (persisted
values and artifacts) and the identity; everything else is made anew at a restart, with a new boot id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from falak.core import effects as ef
from falak.core import events as ev
from falak.core.model import Artifact, Capacity, Identity, SignedRecord, encode_record
from falak.core.node import Node, Place
from falak.core.wire import decode, encode
from falak.sim.gateway import Gateway

if TYPE_CHECKING:
    from falak.sim.world import World

CPU_MILLIS = 4000
MEMORY_BYTES = 8 * 1024**3
PREPARE_S = 0.05
FETCH_S = 0.01
START_S = 0.0015
DISK_S = 0.0005


@dataclass(frozen=True, slots=True)
class StartFault:
    """What goes wrong with copies of a capsule: ``why`` they fail to start, or ("" for that) they never answer;
    ``dies_s``: they start, and end by themselves after so long."""

    why: str = ""
    capsule_fault: bool = False
    dies_s: float = 0.0


class Host:
    """A machine named ``name``; ``up`` says whether its process runs. ``disk_why``: why its disk takes nothing
    ("" when it does)."""

    def __init__(self, world: World, name: str, place: Place, zone: str = "") -> None:
        self.world, self.name, self.place, self.zone = world, name, place, zone
        self.id = f"{name}-id"
        self.address = f"/sim/{name}"
        self.disk: dict[str, bytes] = {}
        self.disk_why = ""
        self.artifacts: dict[str, None] = {}
        self.links: dict[str, int] = {}
        self.told_links: dict[str, None] = {}
        self.stopped: dict[int, None] = {}
        self.topics: dict[str, None] = {}
        self.instances: dict[int, str] = {}
        self.faults: dict[str, StartFault] = {}
        self.capacity = Capacity(CPU_MILLIS, MEMORY_BYTES, CPU_MILLIS, MEMORY_BYTES, 0)
        self.joined = False
        self.refused_join = ""
        self.up = False
        self.runs = 0
        self.node: Node
        self.gateway = Gateway(self)
        self._held: list[ev.Event] | None = None

    # --- the process -------------------------------------------------------------------------------------

    def start(self, contacts: tuple[str, ...] = (), must_join: bool = True) -> None:
        """Start the process: a new boot with whatever the disk kept; beside its contacts it dials its address
        book, as the daemon does. Fine if it runs already."""
        if self.up:
            return
        self.runs += 1
        self.up, self.joined, self._held = True, False, None
        self.links, self.topics, self.instances = {}, {}, {}
        self.told_links, self.stopped = {}, {}
        boot = self.world.rng.getrandbits(32)
        me = Identity(self.id, self.name, boot, "main", self.zone)
        self.node = Node(me, self.place, self.world.settings, self.world.rng.getrandbits(32))
        self.gateway.reset()
        incarnation = int(self.disk.get("incarnation", b"0")) + 1
        book = [a for a in self.disk.get("book", b"").decode().split() if a not in contacts]
        kept = [v for k, v in sorted(self.disk.items()) if k.startswith("record/") and v]
        records = tuple(msgspec.msgpack.decode(v, type=SignedRecord) for v in kept)
        self.step(ev.Sampled(self.capacity))
        self.step(
            ev.Begin(
                incarnation,
                (self.address,),
                (*contacts, *book),
                bool(contacts) and must_join,
                records,
                tuple(self.artifacts),
            )
        )

    def crash(self) -> None:
        """The process dies; its sockets close, what it had written is still delivered."""
        self.up = False
        self.gateway.lose_all()
        for peer in list(self.links):
            self.world.break_link(self.id, peer, "closed")

    def pause(self) -> None:
        """The process stands still: it hears and does nothing."""
        self._held = [] if self._held is None else self._held

    def resume(self) -> None:
        """It goes on, with everything that came meanwhile."""
        held, self._held = self._held or [], None
        for event in held:
            self.step(event)

    @property
    def answers(self) -> bool:
        """Whether the process runs and does not stand still."""
        return self.up and self._held is None

    def step(self, event: ev.Event) -> None:
        """Tell the core, carry out what it wants, and owe it its next tick."""
        if not self.up:
            return
        if self._held is not None:
            self._held.append(event)
            return
        self.world.traced(self, event)
        effects = self.node.step(event, self.world.now)
        own = self.node.turn.own
        for at, effect in enumerate(effects):
            while own and own[0][0] <= at:
                self.world.traced_own(self, own.popleft()[1])
            self.world.traced(self, effect)
            self._perform(effect)
        while own:
            self.world.traced_own(self, own.popleft()[1])
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
                if not self.disk_why:
                    self.disk[key] = value
                self.later(DISK_S, ev.Persisted(key, self.disk_why))
            case ef.Sign(request, record):
                data = encode_record(record)
                self.later(0.0, ev.Signed(request, SignedRecord(data, self.id, b"sim")))
            case ef.Fetch(artifact, peer):
                self._fetch(artifact, peer)
            case ef.Prepare(artifact):
                why = self.world.bad_artifacts.get(artifact.digest, "")
                self.later(PREPARE_S, ev.Prepared(artifact.digest, why, bool(why)))
            case ef.Start(instance, record):
                self._start_copy(instance, record.name)
            case ef.Stop(instance, why):
                self.instances.pop(instance, None)
                self.stopped[instance] = None
                self.later(0.0, ev.Ended(instance, why))

    def _fetch(self, artifact: Artifact, peer: str) -> None:
        source = self.world.by_id.get(peer)
        why = "the peer does not have it"
        if source and source.up and artifact.digest in source.artifacts and peer in self.links:
            self.artifacts[artifact.digest] = None
            why = ""
        self.later(FETCH_S, ev.Fetched(artifact.digest, peer, why))

    def _start_copy(self, instance: int, name: str) -> None:
        fault = self.faults.get(name)
        self.instances[instance] = name
        if fault and fault.why:
            del self.instances[instance]
            self.later(START_S, ev.StartFailed(instance, fault.why, fault.capsule_fault))
        elif fault and fault.dies_s:
            self.later(START_S, ev.Started(instance, START_S))
            run = self.runs
            self.world.after(START_S + fault.dies_s, lambda: self.kill(instance) if run == self.runs else None)
        elif not fault:
            self.later(START_S, ev.Started(instance, START_S))

    def kill(self, instance: int) -> None:
        """A copy ends behind the core's back."""
        if self.up and self.instances.pop(instance, ""):
            self.step(ev.Ended(instance, "killed by signal 9"))
