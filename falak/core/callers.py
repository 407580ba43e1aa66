"""Who waits at this elector for a capsule, and what went wrong for them so far. It answers; it elects nobody.

Owns the callers of every capsule that an election or a starting copy is waited for. A caller is answered once,
with holders or with a refusal; when ``convene_deadline_s`` is over ``late`` is called to say why.
"""

from __future__ import annotations

from typing import Final

import msgspec

from falak.core.model import Claim, clip
from falak.core.settings import Settings
from falak.core.turn import Turn
from falak.core.wire import Heard, Holders, Refused

CALLERS_MAX: Final = 1024
"""Callers waiting for one capsule: one a node, so never reached in a cell; beyond it a call is refused."""


class _Waiting(msgspec.Struct):
    """``callers``: the cause of each; ``failures``: nodes whose copy failed meanwhile, and why."""

    callers: dict[str, str] = msgspec.field(default_factory=dict)
    failures: list[tuple[str, str]] = msgspec.field(default_factory=list)


class Callers:
    """The room."""

    def __init__(self, turn: Turn, settings: Settings) -> None:
        self._turn, self._settings = turn, settings
        self._waiting: dict[str, _Waiting] = {}

    def sizes(self) -> dict[str, tuple[int, int]]:
        """What waits here and its limit, by name."""
        most = max((len(waiting.callers) for waiting in self._waiting.values()), default=0)
        return {
            "callers of one capsule": (most, CALLERS_MAX),
            "capsules called": (len(self._waiting), self._settings.records_max),
        }

    def has_room(self, name: str, peer: str) -> bool:
        """Whether one more may wait."""
        callers = self._waiting[name].callers if name in self._waiting else {}
        return len(callers) < CALLERS_MAX or peer in callers

    def add(self, name: str, peer: str, cause: str) -> None:
        """A caller waits from now on, and is told that it is heard."""
        if name not in self._waiting:
            self._waiting[name] = _Waiting()
            self._turn.after(self._settings.convene_deadline_s, "convene", "callers", name)
        self._waiting[name].callers[peer] = cause
        self._turn.send(peer, Heard(name, cause))

    def waiting(self, name: str) -> int:
        """How many wait for a capsule."""
        return len(self._waiting[name].callers) if name in self._waiting else 0

    def first(self, name: str) -> tuple[str, str] | None:
        """The caller that waits longest, and its cause."""
        waiting = self._waiting.get(name)
        return next(iter(waiting.callers.items()), None) if waiting else None

    def failed(self, name: str, holder: str, why: str) -> None:
        """A copy that was waited for failed at a node."""
        if name in self._waiting:
            self._waiting[name].failures.append((holder, why))

    def failures(self, name: str) -> list[tuple[str, str]]:
        """Nodes whose copy failed while the present callers waited, and why."""
        return self._waiting[name].failures if name in self._waiting else []

    def gone(self, peer: str) -> None:
        """A caller's run is over: it waits for nothing."""
        for waiting in self._waiting.values():
            waiting.callers.pop(peer, None)

    def tell_holders(self, name: str, claims: tuple[Claim, ...]) -> None:
        """Answer everybody who waits."""
        for peer, cause in self._end(name).items():
            self._turn.send(peer, Holders(name, cause, claims))

    def tell_elsewhere(self, name: str, claims: tuple[Claim, ...]) -> None:
        """Answer those on other nodes; a caller here goes on waiting."""
        here = self._waiting[name].callers.get(self._turn.me) if name in self._waiting else None
        if here is None:
            self.tell_holders(name, claims)
            return
        callers, self._waiting[name].callers = self._waiting[name].callers, {self._turn.me: here}
        for peer, cause in callers.items():
            if peer != self._turn.me:
                self._turn.send(peer, Holders(name, cause, claims))

    def tell_refused(self, name: str, reason: str, retry_after_s: int) -> None:
        """Refuse everybody who waits."""
        for peer, cause in self._end(name).items():
            self._turn.send(peer, Refused(name, cause, clip(reason), retry_after_s))

    def _end(self, name: str) -> dict[str, str]:
        self._turn.timers.cancel(("convene", "callers", name))
        waiting = self._waiting.pop(name, None)
        return waiting.callers if waiting else {}
