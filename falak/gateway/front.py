"""Routes, endpoints, retries and refusals into the native gateway; what its copies do out of it. Decides nothing.

Native takes commands in order. Should its queue be full, what replaces something (routes, endpoints) is kept in
its newest form and given again soon; what answers requests is lost with a count, and their parking time answers
them. Copies that drain have no event in native: while there are some, they are looked at.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

from falak.core import effects as ef
from falak.core import events as ev
from falak.seam import Gateway

FLUSH_AGAIN_S: Final = 0.01
DRAIN_LOOK_S: Final = 0.02
"""Copies that drain are looked at this often. Larger: fewer looks. Smaller: a node leaves sooner."""
Endpoints = list[tuple[str, str, int]]


class Front:
    """One node's gateway. ``tell`` steps an event."""

    def __init__(self, gateway: Gateway, tell: Callable[[ev.Event], None]) -> None:
        self._gateway, self._tell = gateway, tell
        self._routes: tuple[tuple[str, str, str], ...] | None = None
        self._endpoints: dict[str, tuple[Endpoints, int]] = {}
        self._copies: dict[int, tuple[int, int, int]] = {}
        self._most: dict[int, int] = {}
        self._draining: dict[int, None] = {}
        self.counters: Counter[str] = Counter()

    @property
    def address(self) -> str:
        """The ``HOST:PORT`` listened on."""
        return self._gateway.address

    def set_routes(self, effect: ef.SetRoutes) -> None:
        """Replace the table of routes."""
        self._routes = effect.routes
        self._flush()

    def set_endpoints(self, effect: ef.SetEndpoints) -> None:
        """Replace a capsule's endpoints."""
        endpoints = [
            ("node", end.peer, end.cost) if end.peer else ("local", str(end.instance), end.cost)
            for end in effect.endpoints
        ]
        self._endpoints[effect.capsule] = (endpoints, effect.concurrency)
        self._flush()

    def _flush(self) -> None:
        try:
            if self._routes is not None:
                self._gateway.set_routes(self._routes)
                self._routes = None
            for capsule in list(self._endpoints):
                self._gateway.set_endpoints(capsule, *self._endpoints[capsule])
                del self._endpoints[capsule]
        except BlockingIOError:
            self.counters["commands_late"] += 1
            asyncio.get_running_loop().call_later(FLUSH_AGAIN_S, self._flush)

    def retry(self, effect: ef.Retry) -> None:
        """Match requests parked under a host against the routes again."""
        try:
            self._gateway.retry(effect.key)
        except BlockingIOError:
            self.counters["retries_not_taken"] += 1

    def refuse(self, effect: ef.Refuse) -> None:
        """Answer every request parked under a key."""
        try:
            self._gateway.refuse(effect.key, effect.status, effect.reason, effect.retry_after_s)
        except BlockingIOError:
            self.counters["refusals_not_taken"] += 1

    # --- what copies do ----------------------------------------------------------------------------------

    def used(self) -> tuple[ev.Used, ...]:
        """What every copy here had to do since the last time."""
        self._look()
        most, self._most = self._most, {}
        copies = sorted(self._copies.items())
        return tuple(ev.Used(i, now, taken, most[i]) for i, (now, taken, _) in copies)

    def _look(self) -> None:
        """Native forgets the most at once with every look: it is kept here until it was told."""
        self._copies = self._gateway.copies()
        for instance, (_, _, most) in self._copies.items():
            self._most[instance] = max(most, self._most.get(instance, 0))

    def drain(self, effect: ef.DrainCopy) -> None:
        """Tell once no request is under way at a copy."""
        if not self._draining:
            asyncio.get_running_loop().call_soon(self._look_at_draining)
        self._draining[effect.instance] = None

    def _look_at_draining(self) -> None:
        self._look()
        done = [i for i in self._draining if self._copies.get(i, (0, 0, 0))[0] == 0]
        for instance in done:
            del self._draining[instance]
        if self._draining:
            asyncio.get_running_loop().call_later(DRAIN_LOOK_S, self._look_at_draining)
        for instance in done:
            self._tell(ev.Drained(instance))

    def stopped(self, instance: int) -> None:
        """A copy is stopped: nothing of it is looked for any more."""
        self._draining.pop(instance, None)

    def parked(self) -> int:
        """Requests that wait here for a copy or a route."""
        numbers = (stats.get("parked", 0) for stats in self._gateway.stats().values())
        return sum(number for number in numbers if isinstance(number, int))
