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
from falak.sim.beats import Beats
from falak.sim.gateway import Gateway

if TYPE_CHECKING:
    from falak.sim.world import World

CPU_MILLIS = 4000
MEMORY_BYTES = 8 * 1024**3
PREPARE_S = 0.05
FETCH_S = 0.01
START_S = 0.0015
DRAIN_S = 0.0005
SAMPLE_S = 1.0
DISK_S = 0.0005
WALL_ZERO_S = 1_800_000_000.0
"""Wall time where the world's own is 0."""


@dataclass(frozen=True, slots=True)
class StartFault:
    """What goes wrong with copies of a capsule: ``why`` they fail to start, or ("" for that) they never answer;
    ``dies_s``: they start, and end by themselves after so long."""

    why: str = ""
    capsule_fault: bool = False
    dies_s: float = 0.0


class Host:
    """A machine named ``name``; ``up`` says whether its process runs. ``disk_why``: why its disk takes nothing
    ("" when it does). ``at_once``: requests that every copy here is said to have at once."""

    def __init__(self, world: World, name: str, place: Place, zone: str = "") -> None:
        self.world, self.name, self.place, self.zone = world, name, place, zone
        self.id = f"{name}-id"
        self.address = f"/sim/{name}"
        self.disk: dict[str, bytes] = {}
        self.disk_why = ""
        self.clock_off_s = 0.0
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
        self.at_once = 0
        self._sampling = False
        self.beats = Beats(self)
        self._held: list[ev.Event] | None = None
        self.paused_at = 0.0

    # --- the process -------------------------------------------------------------------------------------

    def start(self, contacts: tuple[str, ...] = (), must_join: bool = True) -> None:
        """Start the process: a new boot with whatever the disk kept; beside its contacts it dials its address
        book, as the daemon does. Fine if it runs already."""
        if self.up:
            return
        self.runs += 1
        self.up, self.joined, self._held = True, False, None
        self.links, self.topics, self.instances = {}, {}, {}
        self._sampling = False
        self.told_links, self.stopped = {}, {}
        self.beats.reset()
        boot = self.world.rng.getrandbits(32)
        me = Identity(self.id, self.name, boot, "main", self.zone)
        self.node = Node(me, self.place, self.world.settings, self.world.rng.getrandbits(32))
        self.gateway.reset()
        incarnation = int(self.disk.get("incarnation", b"0")) + 1
        book = [a for a in self.disk.get("book", b"").decode().split() if a not in contacts]
        self.step(ev.Sampled(self.capacity, wall_s=self.wall_s))
        self.step(
            ev.Begin(
                incarnation,
                (self.address,),
                (*contacts, *book),
                bool(contacts) and must_join,
                self._records("record/"),
                tuple(self.artifacts),
                self._records("previous/"),
                self.wall_s - float(self.disk["met"]) if self.disk.get("met") else 0.0,
            )
        )

    def _records(self, prefix: str) -> tuple[SignedRecord, ...]:
        kept = [value for key, value in sorted(self.disk.items()) if key.startswith(prefix) and value]
        return tuple(msgspec.msgpack.decode(value, type=SignedRecord) for value in kept)

    @property
    def wall_s(self) -> float:
        """This machine's clock, which may be wrong by ``clock_off_s``."""
        return WALL_ZERO_S + self.world.now + self.clock_off_s

    def wipe(self) -> None:
        """Its disk is lost: records, artifacts and addresses. Its key, and so its incarnation, is kept, else it
        would be another machine. Only while it is down."""
        self.disk = {key: value for key, value in self.disk.items() if key == "incarnation"}
        self.artifacts = {}

    def set_clock(self, off_s: float) -> None:
        """Set it wrong, and tell its node."""
        self.clock_off_s = off_s
        self.step(ev.Sampled(self.capacity, wall_s=self.wall_s))

    def crash(self) -> None:
        """The process dies; its sockets close, what it had written is still delivered."""
        self.up = False
        self.gateway.lose_all()
        for peer in list(self.links):
            self.world.break_link(self.id, peer, "closed")

    def pause(self) -> None:
        """The process stands still: it hears and does nothing."""
        if self._held is None:
            self._held, self.paused_at = [], self.world.now
            self.beats.host_paused()

    def resume(self) -> None:
        """It goes on, with everything that came meanwhile; that it stood still it notices first."""
        if self._held is None:
            return
        held, self._held = self._held, None
        self.beats.host_resumed()
        self.step(ev.Stalled(self.world.now - self.paused_at))
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

    def _sample(self, run: int) -> None:
        """What the copies here did, as long as there are some."""
        if run != self.runs or not self.up or not self.instances:
            self._sampling = False
            return
        used = self.gateway.used
        told = tuple(ev.Used(i, self.at_once, used.get(i, 0), self.at_once) for i in sorted(self.instances))
        self.world.after(SAMPLE_S, lambda: self._sample(run))
        self.step(ev.Sampled(self.capacity, told, self.wall_s))

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
            case ef.Beat(peer, on):
                self.beats.watch(peer, on)
            case ef.Left():
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
            case ef.DrainCopy(instance):
                self.later(DRAIN_S, ev.Drained(instance))
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
        if not self._sampling:
            self._sampling, run = True, self.runs
            self.world.after(SAMPLE_S, lambda: self._sample(run))
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
