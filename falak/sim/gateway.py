"""A simulated gateway: requests parked, sent on, answered or refused. Owns requests and nothing of policy.

It behaves as the native one is documented to: one ``Wanted`` a key until endpoints come, two drawn at random
and the lesser taken, "not here" from a node without a copy, never a second forward, a parking deadline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from falak.core import effects as ef
from falak.core import events as ev

if TYPE_CHECKING:
    from falak.sim.host import Host

PARK_S = 10.0
TRIES_MAX = 3


@dataclass(slots=True)
class Request:
    """One client's request. ``outcome`` is "" while it is under way, else ``answered by NODE`` or a refusal."""

    number: int
    at: str
    host: str
    began_at: float
    run: int
    outcome: str = ""
    status: int = 0
    ended_at: float = 0.0
    tries: int = 0
    capsule: str = ""
    path: str = "/"


class Gateway:
    """The gateway of one host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.reset()

    def reset(self) -> None:
        """As after a start."""
        self.routes: tuple[tuple[str, str, str], ...] = ()
        self.endpoints: dict[str, list[ef.Endpoint]] = {}
        self.parked: dict[str, list[Request]] = {}
        self.used: dict[int, int] = {}

    def lose_all(self) -> None:
        """The process died: its clients see a closed connection."""
        for waiting in self.parked.values():
            for request in waiting:
                self._end(request, 0, "connection closed")
        self.parked = {}

    # --- requests ----------------------------------------------------------------------------------------

    def take(self, request: Request) -> None:
        """A client's request arrives."""
        request.capsule = self._route(request)
        world = self._host.world
        world.after(PARK_S, lambda: self._expire(request))
        self._go_on(request)

    def _route(self, request: Request) -> str:
        """The capsule of the longest prefix of whole segments."""
        path = request.path.rstrip("/") + "/"
        fits = [(p, c) for h, p, c in self.routes if h == request.host and path.startswith(p.rstrip("/") + "/")]
        return max(fits, key=lambda fit: len(fit[0]), default=("", ""))[1]

    def _go_on(self, request: Request) -> None:
        endpoints = self.endpoints.get(request.capsule, []) if request.capsule else []
        if not endpoints:
            self._park(request)
            return
        drawn = [self._host.world.rng.choice(endpoints) for _ in range(2)]
        self._send(request, min(drawn, key=lambda e: e.cost))

    def _park(self, request: Request) -> None:
        key = request.capsule or f"host/{request.host}"
        waiting = self.parked.setdefault(key, [])
        waiting.append(request)
        if len(waiting) == 1:
            self._host.later(0.0, ev.Wanted(key))

    def _send(self, request: Request, endpoint: ef.Endpoint) -> None:
        if endpoint.instance:
            self._use(endpoint.instance)
            self._end(request, 200, f"answered by {self._host.name}")
            return
        request.tries += 1
        self._host.world.forward(self._host, request, endpoint.peer)

    def serve(self, capsule: str) -> bool:
        """Answer a forwarded request with a local copy, if there is one."""
        local = next((e.instance for e in self.endpoints.get(capsule, []) if e.instance), 0)
        if local:
            self._use(local)
        return bool(local)

    def _use(self, instance: int) -> None:
        self.used[instance] = self.used.get(instance, 0) + 1

    def failed(self, request: Request, peer: str, not_here: bool) -> None:
        """A forwarded request came back without an answer: drop that endpoint, tell the core, go on."""
        if request.outcome or not self._host.up:
            return
        name = request.capsule
        self.endpoints[name] = [e for e in self.endpoints.get(name, []) if e.peer != peer]
        self._host.step(ev.NotHere(name, peer) if not_here else ev.Unreachable(name, peer))
        if request.tries >= TRIES_MAX:
            self._end(request, 503, "no copy could be reached")
        else:
            self._go_on(request)

    def done(self, request: Request, by: str) -> None:
        """The answer of a forwarded request arrived."""
        self._end(request, 200, f"answered by {by}")

    def _end(self, request: Request, status: int, outcome: str) -> None:
        if not request.outcome:
            request.outcome, request.status, request.ended_at = outcome, status, self._host.world.now

    def _expire(self, request: Request) -> None:
        key = request.capsule or f"host/{request.host}"
        waiting = self.parked.get(key, [])
        if request in waiting:
            waiting.remove(request)
            self._end(request, 503, "parked too long")
            if not waiting:
                self._host.step(ev.Forgone(key))

    # --- effects -----------------------------------------------------------------------------------------

    def perform(self, effect: ef.Effect) -> None:
        """Carry out what the core wants of the gateway."""
        match effect:
            case ef.SetRoutes(routes):
                self.routes = routes
            case ef.SetEndpoints(capsule, endpoints):
                self.endpoints[capsule] = list(endpoints)
                if endpoints:
                    for request in self.parked.pop(capsule, []):
                        self._go_on(request)
            case ef.Retry(key):
                waiting = self.parked.pop(key, [])
                for request in waiting:
                    request.capsule = self._route(request)
                self.parked[key] = [request for request in waiting if not request.capsule]
                for request in waiting:
                    if request.capsule:
                        self._go_on(request)
            case ef.Refuse(key, status, reason):
                for request in self.parked.pop(key, []):
                    self._end(request, status, reason)
