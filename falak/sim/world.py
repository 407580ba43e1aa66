"""The world: virtual time, hosts, links between them, requests, and everything that goes wrong.

Owns the clock and the event queue. ``run`` goes on to a time, ``settle`` until nothing is under way. Two worlds
with one seed and the same calls have the same history, byte for byte (``trace``).
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from falak.core import effects as ef
from falak.core import events as ev
from falak.core.model import Artifact, Record
from falak.core.node import Place
from falak.core.settings import Settings
from falak.core.wire import Message
from falak.sim import invariants
from falak.sim.gateway import Request
from falak.sim.host import Host
from falak.sim.network import Network, Weather

CLOSE_S = 0.003
DIAL_TIMEOUT_S = 3.0
UNDER_WAY = "under way"
"""What a publication's ``why`` says until it ends."""


@dataclass(frozen=True, slots=True)
class Own:
    """A message of a node to itself, handled within its step."""

    message: Message


@dataclass(frozen=True, slots=True)
class Lost:
    """A message that the network lost."""

    peer: str
    message: Message


Seen = ev.Event | ef.Effect | Own | Lost


class World:
    """A seeded world of hosts."""

    def __init__(self, seed: int, weather: Weather | None = None, settings: Settings | None = None) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now = 1000.0
        self.settings = settings or Settings()
        self.network = Network(weather or Weather(), self.rng)
        self.hosts: dict[str, Host] = {}
        self.by_id: dict[str, Host] = {}
        self.requests: list[Request] = []
        self.publications: dict[int, ef.Published] = {}
        self.notes: list[tuple[float, str, ef.Note]] = []
        self.tracer: Callable[[str, Seen], None] | None = None
        self.bad_artifacts: dict[str, str] = {}
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0
        self._links = 0
        self._torn: set[int] = set()
        self.messages = 0

    # --- time --------------------------------------------------------------------------------------------

    def at(self, when: float, what: Callable[[], object]) -> None:
        """Do something at a time."""
        self._count += 1
        heapq.heappush(self._queue, (when, self._count, what))

    def after(self, delay_s: float, what: Callable[[], object]) -> None:
        """Do something later."""
        self.at(self.now + delay_s, what)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while self._queue and self._queue[0][0] <= until:
            self.now, _, what = heapq.heappop(self._queue)
            what()
        self.now = until

    def run_until(self, done: Callable[[], bool], limit_s: float = 30.0) -> bool:
        """Let time pass until something holds; False if it does not within the limit."""
        until = self.now + limit_s
        while not done():
            if not self._queue or self._queue[0][0] > until:
                return False
            self.now, _, what = heapq.heappop(self._queue)
            what()
        return True

    # --- hosts -------------------------------------------------------------------------------------------

    def add(
        self, name: str, place: Place | None = None, zone: str = "", join: str = "", address: str = ""
    ) -> Host:
        """A new machine, started; it joins through the named one. ``address``: another one's, that is down."""
        host = Host(self, name, place or Place(), zone)
        host.address = address or host.address
        self.hosts[name], self.by_id[host.id] = host, host
        host.start((self.hosts[join].address,) if join else ())
        return host

    def mesh(self, count: int, place: Place | None = None) -> list[Host]:
        """``count`` hosts n1, n2, ... joined through n1, all linked and heard."""
        hosts = [self.add("n1", place)]
        hosts += [self.add(f"n{i}", place, join="n1") for i in range(2, count + 1)]
        whole = self.run_until(lambda: all(len(h.node.members.present()) == count and h.joined for h in hosts))
        if not whole:
            raise AssertionError(f"seed {self.seed}: the mesh of {count} did not come together")
        return hosts

    def crash(self, name: str) -> None:
        """Kill a host's process."""
        self.hosts[name].crash()

    def restart(self, name: str, join: str = "") -> None:
        """Start a crashed host's process again (nothing, if it runs)."""
        self.hosts[name].start((self.hosts[join].address,) if join else ())

    # --- people ------------------------------------------------------------------------------------------

    def publish(self, at: str, record: Record) -> int:
        """Launch a capsule at a node; its result comes into ``publications``."""
        request = len(self.publications) + 1
        self.publications[request] = ef.Published(request, record.name, 0, (), False, UNDER_WAY)
        host = self.hosts[at]
        for artifact in record.artifacts:
            host.artifacts[artifact.digest] = None
        host.step(ev.Publish(request, record))
        return request

    def launch(self, at: str, name: str, **fields: object) -> ef.Published:
        """Launch a capsule with one artifact and wait until it is published."""
        record = capsule(name, **fields)
        request = self.publish(at, record)
        self.run_until(lambda: self.published_yet(request))
        return self.publications[request]

    def begin_order(self, at: str, what: type[ev.Withdraw] | type[ev.Rollback], name: str) -> int:
        """Withdraw a capsule at a node, or roll it back; its result comes into ``publications``."""
        request = len(self.publications) + 1
        self.publications[request] = ef.Published(request, name, 0, (), False, UNDER_WAY)
        self.hosts[at].step(what(request, name))
        return request

    def order(self, at: str, what: type[ev.Withdraw] | type[ev.Rollback], name: str) -> ef.Published:
        """The same, and wait for the end of it."""
        request = self.begin_order(at, what, name)
        self.run_until(lambda: self.published_yet(request))
        return self.publications[request]

    def published_yet(self, request: int) -> bool:
        """Whether a launch has ended, well or badly."""
        return self.publications[request].why != UNDER_WAY

    def request(self, at: str, host: str, path: str = "/") -> Request:
        """A client asks a node."""
        request = Request(len(self.requests) + 1, at, host, self.now, self.hosts[at].runs, path=path)
        self.requests.append(request)
        self.hosts[at].gateway.take(request)
        return request

    def ask(self, at: str, name: str, limit_s: float = 12.0) -> Request:
        """A client asks a node for a capsule and waits for the end of it."""
        request = self.request(at, f"{name}.localhost")
        self.run_until(lambda: bool(request.outcome), limit_s)
        return request

    # --- the network -------------------------------------------------------------------------------------

    def send(self, host: Host, peer: str, message: Message) -> None:
        """Carry a message over a link."""
        self.messages += 1
        link = host.links.get(peer)
        if link is not None and self.network.tears():
            self.break_link(host.id, peer, "torn")
            link = None
        if link is None:
            self._lose(host, peer, message)
            host.later(0.0, ev.Undelivered(peer))
            return
        copies = self.network.copies()
        if not copies:
            self._lose(host, peer, message)
        for _ in range(copies):
            self._arrive_after(self.network.one_way_s(), host.id, self.by_id[peer], link, message)

    def _lose(self, host: Host, peer: str, message: Message) -> None:
        if self.tracer:
            self.tracer(host.name, Lost(peer, message))

    def _arrive_after(self, delay_s: float, source: str, target: Host, link: int, message: Message) -> None:
        run = target.runs

        def arrive() -> None:
            if target.runs == run and link not in self._torn:
                target.step(ev.Received(source, message))

        self.after(delay_s, arrive)

    def gossip(self, host: Host, topic: str, message: Message) -> None:
        """Carry gossip to every subscriber that a path of links between subscribers reaches. One that stands still
        hears it when it goes on, and hands nothing on."""
        reached = {host.id: 0.0}
        everybody = sum(1 for other in self.hosts.values() if other.up and topic in other.topics)
        way = [host]
        for relay in way:
            if len(reached) == everybody and topic in host.topics:
                break
            for peer in sorted(relay.links):
                target = self.by_id[peer]
                if peer in reached or topic not in target.topics or not target.up:
                    continue
                reached[peer] = reached[relay.id] + self.network.one_way_s()
                if target.answers:
                    way.append(target)
                for _ in range(self.network.copies()):
                    self._arrive_after(reached[peer], host.id, target, relay.links[peer], message)

    def dial(self, host: Host, peer: str, address: str) -> None:
        """Make a link, or fail to. A dial to somebody already linked changes nothing and is not told of."""
        there = [h for h in self.hosts.values() if h.address == address]
        target = next((h for h in there if h.up), there[0] if there else None)
        run = host.runs
        if target and not self.network.connected(host.id, target.id):
            host.later(DIAL_TIMEOUT_S, ev.DialFailed(peer, address, False, "timed out"))
        elif target is None or not target.up:
            failed = ev.DialFailed(peer, address, True, "refused")
            host.later(self.network.weather.rtt_s + 0.0003, failed)
        elif not target.answers:
            host.later(DIAL_TIMEOUT_S, ev.DialFailed(peer, address, False, "timed out"))
        elif peer not in ("", target.id):
            failed = ev.DialFailed(peer, address, False, f"{target.name} answers there", target.id)
            host.later(self.network.dial_s(), failed)
        else:
            goal, goal_run = target, target.runs
            self.after(self.network.dial_s(), lambda: self._linked(host, run, goal, goal_run))

    def _linked(self, host: Host, run: int, target: Host, target_run: int) -> None:
        if host.runs != run or not host.up or target.id in host.links:
            return
        if target.runs != target_run or not target.up or not self.network.connected(host.id, target.id):
            host.step(ev.DialFailed(target.id, target.address, True, "refused"))
            return
        self._links += 1
        host.links[target.id] = target.links[host.id] = self._links
        self._tell_up(host, target, True)
        self._tell_up(target, host, False)

    @staticmethod
    def _tell_up(host: Host, other: Host, dialer: bool) -> None:
        """Unless the last link's end was not told yet: then to the host it never ended."""
        if other.id not in host.told_links:
            host.told_links[other.id] = None
            host.step(ev.LinkUp(other.id, other.address, dialer))

    @staticmethod
    def _tell_down(host: Host, run: int, peer: str, cause: str) -> None:
        if host.runs == run and peer in host.told_links and peer not in host.links:
            del host.told_links[peer]
            host.step(ev.LinkDown(peer, cause))

    def break_link(self, a: str, b: str, cause: str) -> None:
        """Close the link between two nodes; each side is told. What is under way on it is lost unless its
        sender wrote it before it closed ("closed")."""
        link = self.by_id[a].links.get(b)
        if link is not None and cause != "closed":
            self._torn.add(link)
        for this, other in ((self.by_id[a], b), (self.by_id[b], a)):
            if other in this.links:
                del this.links[other]
                self.after(CLOSE_S, partial(self._tell_down, this, this.runs, other, cause))

    def cut(self, groups: list[list[str]]) -> None:
        """Split the network: links across the groups break."""
        ids = [[self.hosts[name].id for name in group] for group in groups]
        self.network.split(ids)
        for host in self.hosts.values():
            for peer in [p for p in host.links if not self.network.connected(host.id, p)]:
                self.break_link(host.id, peer, "cut")

    def part(self, a: str, b: str) -> None:
        """Two nodes lose each other; everybody else keeps both."""
        one, other = self.hosts[a].id, self.hosts[b].id
        self.network.part(one, other)
        self.break_link(one, other, "cut")

    def heal(self) -> None:
        """Everybody reaches everybody again."""
        self.network.heal()

    def forward(self, host: Host, request: Request, peer: str) -> None:
        """Carry a request to another node's gateway and the answer back."""
        target = self.by_id.get(peer)
        there = self.network.one_way_s()
        if target is None or not target.up or peer not in host.links:
            self.after(there, lambda: host.gateway.failed(request, peer, False))
            return
        goal = target
        self.after(there, lambda: self._forwarded(host, request, goal))

    def _forwarded(self, host: Host, request: Request, target: Host) -> None:
        back = self.network.one_way_s()
        if not target.answers:
            self.after(CLOSE_S, lambda: host.gateway.failed(request, target.id, False))
        elif target.gateway.serve(request.capsule):
            self.after(back, lambda: host.gateway.done(request, target.name))
        else:
            self.after(back, lambda: host.gateway.failed(request, target.id, True))

    # --- watching ----------------------------------------------------------------------------------------

    def traced(self, host: Host, what: ev.Event | ef.Effect) -> None:
        """Every event and effect passes here."""
        if self.tracer:
            self.tracer(host.name, what)

    def traced_own(self, host: Host, message: Message) -> None:
        """Every message of a node to itself passes here."""
        if self.tracer:
            self.tracer(host.name, Own(message))

    def check(self, host: Host) -> None:
        """Invariants that hold after every step."""
        invariants.after_step(self, host)

    def published(self, effect: ef.Published) -> None:
        """A launch ended."""
        self.publications[effect.request] = effect

    def noted(self, host: Host, note: ef.Note) -> None:
        """A visible event."""
        self.notes.append((self.now, host.name, note))

    def names(self, events: Iterable[str]) -> list[tuple[str, ef.Note]]:
        """The visible events of these names, in order."""
        wanted = tuple(events)
        return [(name, note) for _, name, note in self.notes if note.event in wanted]


def capsule(name: str, **fields: object) -> Record:
    """A record with one small artifact, for worlds."""
    version = str(fields.pop("version", "1"))
    digest = f"{name}-{version}".encode().hex().ljust(64, "0")[:64]
    artifact = Artifact(digest, 4096, "application/wasm")
    return Record(name, 0, version, "default", artifacts=(artifact,), **fields)  # type: ignore[arg-type]
