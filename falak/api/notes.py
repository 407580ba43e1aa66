"""Visible events of this node (``falak events``): the last ones, in order. Owns the ring; never the events."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from itertools import count
from typing import Any, Final

from falak.core.effects import Note

KEPT_MAX: Final = 4096
"""Events kept; older ones are forgotten."""
_OWN_KEYS: Final = {"node": "member"}
"""In an item ``node`` is the one that tells; the node that an event is about is its ``member``."""

Item = dict[str, Any]


class Notes:
    """The ring of one node. An item: ``n`` (from 1, without gaps), ``at`` (wall seconds), ``node`` (who tells),
    ``event``, ``cause``, and the event's own fields."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._numbers = count(1)
        self._kept: deque[Item] = deque(maxlen=KEPT_MAX)

    def add(self, note: Note) -> None:
        """Keep an event, as of now."""
        item: Item = {
            "n": next(self._numbers),
            "at": time.time(),
            "node": self._node,
            "event": note.event,
            "cause": note.cause,
        }
        item.update((_OWN_KEYS.get(name, name), value) for name, value in note.fields)
        self._kept.append(item)

    def after(self, number: int, capsule: str = "") -> list[Item]:
        """Events kept with a number above ``number``, of one capsule or of all, oldest first."""
        return [item for item in self._newer(number) if not capsule or item.get("capsule") == capsule]

    def _newer(self, number: int) -> Iterator[Item]:
        first = self._kept[0]["n"] if self._kept else 1
        for at in range(max(0, number + 1 - first), len(self._kept)):
            yield self._kept[at]
