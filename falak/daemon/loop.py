"""The driver of the core: drain what native tells, step, perform, and owe a tick. Owns the order of things.

One event is one step, and all effects of a step are begun before the next step. What an effect yields at once
is stepped after it, never within. The timer of asyncio counts whole milliseconds; a tick that would come too
early is put off, so a deadline is met at most 1 ms late. It also measures how late its own pulse comes: a loop
that stalls is a node that others hold for dead, so stalls are counted and the longest is told; the core hears
of one that makes it doubt itself (``STALL_TOLD_S``) before anything that came meanwhile. A bug that
raises is logged with its trace and counted (``errors``, which must read 0), and the next event is seen to: one
event that trips us must not be a way to end nodes.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from falak.core import events as ev
from falak.core.effects import Effect
from falak.core.node import Node
from falak.core.suspicion import STALL_S as STALL_TOLD_S
from falak.seam import DRAIN_MAX, Events, Told

log = logging.getLogger(__name__)

PULSE_S: Final = 0.2
"""The loop touches native's counter this often; it must be well under what native calls stale."""
STALL_S: Final = 0.1
"""A pulse later than this is a stall."""
CAUSE_MAX_CHARS: Final = 500
"""Of what tripped us, in the log."""

Perform = Callable[[Effect], ev.Event | None]
"""Begins an effect; returns the event it yields at once, if any."""
Route = Callable[[Told], ev.Event | None]
"""Hands an adapter's event to its adapter; returns the core event in it, if any."""


class Loop:
    """Drives one node on the running asyncio loop. ``perform`` and ``route`` must not block."""

    def __init__(self, node: Node, events: Events, read: Callable[[tuple[Any, ...]], Told | None]) -> None:
        self._node, self._events, self._read = node, events, read
        self._loop = asyncio.get_running_loop()
        self._perform: Perform = lambda effect: None
        self._route: Route = lambda told: None
        self._waiting: deque[ev.Event] = deque()
        self._stepping = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._pulse: asyncio.TimerHandle | None = None
        self._pulse_due = math.inf
        self._stall_told = False
        self.counters = {"steps": 0, "ticks": 0, "stalls": 0, "stall_max_ms": 0, "errors": 0}

    def start(self, perform: Perform, route: Route) -> None:
        """Begin to drain and to pulse."""
        self._perform, self._route = perform, route
        self._loop.add_reader(self._events.fileno(), self._drain)
        self._pulse_due = time.monotonic()
        self._beat()

    def stop(self) -> None:
        """Drain and step no more."""
        self._loop.remove_reader(self._events.fileno())
        for handle in (self._timer, self._pulse):
            if handle is not None:
                handle.cancel()
        self._perform, self._route = lambda effect: None, lambda told: None

    def tell(self, event: ev.Event) -> None:
        """Step an event, after those that wait. On the loop's thread only."""
        late_s = time.monotonic() - self._pulse_due
        if late_s > STALL_TOLD_S and not self._stall_told:
            self._stall_told = True
            self._waiting.append(ev.Stalled(late_s))
        self._waiting.append(event)
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._waiting:
                self._step(self._waiting.popleft())
        finally:
            self._stepping = False
        self._owe_tick()

    def _step(self, event: ev.Event) -> None:
        self.counters["steps"] += 1
        try:
            effects = self._node.step(event, time.monotonic())
        except Exception:
            self._failed("the core failed on an event", event)
            effects = self._node.turn.effects  # what it wanted before: its state says that it is done
        for effect in effects:
            try:
                yielded = self._perform(effect)
            except Exception:
                self._failed("an effect failed", effect)
                continue
            if yielded is not None:
                self._waiting.append(yielded)

    def _failed(self, message: str, cause: object) -> None:
        self.counters["errors"] += 1
        log.exception(message, extra={"fields": {"cause": repr(cause)[:CAUSE_MAX_CHARS]}})

    def _drain(self) -> None:
        for row in self._events.drain(DRAIN_MAX):
            try:
                told = self._read(row)
                event = self._route(told) if told is not None else None
            except Exception:
                self._failed("an event of the extension could not be taken in", row)
                continue
            if event is not None:
                self.tell(event)

    # --- time --------------------------------------------------------------------------------------------

    def _owe_tick(self) -> None:
        due = self._node.next_deadline()
        if due is None or due >= self._timer_at:
            return  # a timer that fires before anything is due only looks again: cheaper than to move it
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        wait_s = math.ceil(max(0.0, due - time.monotonic()) * 1000) / 1000
        self._timer = self._loop.call_later(wait_s, self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_at = None, math.inf
        due = self._node.next_deadline()
        if due is not None and due <= time.monotonic():
            self.counters["ticks"] += 1
            self.tell(ev.Tick())
        else:
            self._owe_tick()

    def _beat(self) -> None:
        self._events.touch()
        now = time.monotonic()
        late_s = now - self._pulse_due
        if late_s > STALL_TOLD_S and not self._stall_told:
            self.tell(ev.Tick())
        self._stall_told = False
        if late_s > STALL_S:
            self.counters["stalls"] += 1
            self.counters["stall_max_ms"] = max(self.counters["stall_max_ms"], round(late_s * 1000))
        self._pulse_due = now + PULSE_S
        self._pulse = self._loop.call_later(PULSE_S, self._beat)
