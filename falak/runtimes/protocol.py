"""The protocol of a runtime. Owns the words only; each kind of capsule has a module that speaks them.

A runtime answers through ``tell``, in any order and never from within the call: ``Prepared`` for ``prepare``,
``Started`` or ``StartFailed`` for ``start``, ``Ended`` for ``stop`` and for a copy that ends by itself.
``tell`` is called on the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from falak.core.events import Event
from falak.core.model import Artifact, Record

Tell = Callable[[Event], None]


class Runtime(Protocol):
    """What runs one kind of capsule on this node."""

    def prepare(self, artifact: Artifact) -> None:
        """Make the artifact ready to start from; it is on disk. Safe to repeat."""

    def start(self, instance: int, record: Record) -> None:
        """Start a copy from artifacts that are prepared."""

    def stop(self, instance: int) -> None:
        """End a copy, also one that is still starting. Requests in flight are let end."""

    async def close(self) -> None:
        """End what is under way; nothing is told any more."""
