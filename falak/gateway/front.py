"""Routes, endpoints, retries and refusals into the native gateway. Owns nothing that the core decides.

Native takes these in order. Should its queue be full, what replaces something (routes, endpoints) is kept in
its newest form and given again soon; what answers requests is lost with a count, and their parking time answers
them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from falak.core import effects as ef
from falak.seam import Gateway

FLUSH_AGAIN_S: Final = 0.01
Endpoints = list[tuple[str, str, int]]


class Front:
    """One node's gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._routes: tuple[tuple[str, str, str], ...] | None = None
        self._endpoints: dict[str, Endpoints] = {}
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
        self._endpoints[effect.capsule] = [
            ("node", end.peer, end.cost) if end.peer else ("local", str(end.instance), end.cost)
            for end in effect.endpoints
        ]
        self._flush()

    def _flush(self) -> None:
        try:
            if self._routes is not None:
                self._gateway.set_routes(self._routes)
                self._routes = None
            for capsule in list(self._endpoints):
                self._gateway.set_endpoints(capsule, self._endpoints[capsule])
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
