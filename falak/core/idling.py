"""Copies that nobody needs: those that get no requests, and those that fewer copies could do the work of.

Owns what was seen of each copy's requests here, and when that is reason enough to end it. It ends nothing
itself: whoever made it is told, and the copy drains. A copy in a slot below ``scale.min`` is always needed.
Every node judges its own copies by what it sees of them, so nothing is asked of anybody:

- *idle*: no request for the record's ``idle_s`` (0: never idle);
- *spare*: in slot k, for ``scale_in_s`` it never had more requests at once than would still leave room if k
  copies did the work of k + 1. The bound rises with the slot, so the highest slot goes first.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from falak.core.events import Used
from falak.core.model import Record
from falak.core.momentum import ACTIVE, Copy, Momentum
from falak.core.settings import STEP_SLOTS_MAX, Settings
from falak.core.turn import Turn


class _Seen(msgspec.Struct):
    """``busy_at``: when it last had something to do; ``full_at``: when it last had more than is spare."""

    requests: int
    busy_at: float
    full_at: float


def spare_below(record: Record, slot: int, share: float) -> float:
    """Requests at once up to which the copy in this slot is not needed; below 0 where it always is."""
    scale = record.scale
    if not scale.concurrency or slot < max(1, scale.min):
        return -1.0
    return scale.concurrency * slot / (slot + 1) * share


class Idling:
    """The room. ``end(copy, why)`` has a copy drained. Remembers as much as there are copies here."""

    def __init__(
        self, turn: Turn, settings: Settings, momentum: Momentum, end: Callable[[Copy, str], None]
    ) -> None:
        self._turn, self._settings, self._momentum, self._end = turn, settings, momentum, end
        self._seen: dict[int, _Seen] = {}

    def sampled(self, used: tuple[Used, ...]) -> None:
        """What copies here had to do since the last sample; those that are not needed end, at most
        ``STEP_SLOTS_MAX`` a sample."""
        copies = self._momentum.copies
        self._seen = {instance: seen for instance, seen in self._seen.items() if instance in copies}
        over: list[tuple[Copy, str]] = []
        for what in used:
            copy = copies.get(what.instance)
            if copy is None or copy.state != ACTIVE or not copy.confirmed or copy.ending:
                continue
            why = self._judge(copy, what)
            if why:
                over.append((copy, why))
        for copy, why in over[:STEP_SLOTS_MAX]:
            self._end(copy, why)

    def _judge(self, copy: Copy, what: Used) -> str:
        now, record = self._turn.now, copy.record
        seen = self._seen.get(what.instance)
        if seen is None:
            self._seen[what.instance] = _Seen(what.requests, now, now)
            return ""
        if what.in_flight or what.requests != seen.requests:
            seen.requests, seen.busy_at = what.requests, now
        spare = spare_below(record, copy.slot, self._settings.scale_in_share)
        if what.most > spare:
            seen.full_at = now
        if copy.slot >= record.scale.min and record.idle_s and now - seen.busy_at >= record.idle_s:
            self._turn.note(
                "momentum.idle", copy.cause, capsule=copy.name, slot=copy.slot, idle_s=record.idle_s
            )
            return f"idle for {record.idle_s} s"
        if now - seen.full_at >= self._settings.scale_in_s:
            return "fewer copies are enough"
        return ""
