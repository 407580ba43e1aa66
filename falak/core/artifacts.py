"""What of the capsules is on this node: artifacts fetched from peers, and prepared to start from.

Owns which digests are here and what is under way for them; never the bytes, which the driver keeps. An
artifact goes from nothing to *here* (fetched, verified) to *prepared* (compiled for this machine). What is found
damaged falls back, from prepared to here, or to nothing, and is seen to again as if it had never been more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from falak.core.effects import Fetch, Prepare
from falak.core.events import Fetched, Prepared
from falak.core.model import Artifact
from falak.core.settings import Settings
from falak.core.turn import Turn

NOTHING: Final = 0
HERE: Final = 1
PREPARED: Final = 2


class _Work(msgspec.Struct):
    artifact: Artifact
    runtime: str
    sources: list[str]
    prepare: bool
    tries: int = 0
    busy: bool = False
    asked: str = ""


class Artifacts:
    """The room. ``changed(digest, why, capsule_fault)`` is called when a digest is here or prepared (``why``
    is empty) and when getting it failed for good."""

    def __init__(self, turn: Turn, settings: Settings, changed: Callable[[str, str, bool], None]) -> None:
        self._turn, self._settings, self._changed = turn, settings, changed
        self._level: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._damage: dict[str, str] = {}
        self._work: dict[str, _Work] = {}

    def found(self, digests: Iterable[str]) -> None:
        """These are on disk already."""
        for digest in digests:
            self._rise(digest, HERE)

    def level(self, digest: str) -> int:
        """``NOTHING``, ``HERE`` or ``PREPARED``."""
        return self._level.get(digest, NOTHING)

    def age_s(self, digest: str) -> float:
        """Seconds since the digest reached its level."""
        return self._turn.now - self._since.get(digest, self._turn.now)

    def want(self, artifact: Artifact, runtime: str, sources: Iterable[str], prepare: bool) -> None:
        """See to it that the artifact is here (and prepared), from any of the peers. Safe to repeat: new
        sources are added behind those known. One fetch or preparation a digest is under way at a time."""
        work = self._work.get(artifact.digest)
        if work is None:
            work = self._work[artifact.digest] = _Work(artifact, runtime, [], prepare)
        work.prepare = work.prepare or prepare
        known = {*work.sources, work.asked}
        work.sources += [peer for peer in sources if peer != self._turn.me and peer not in known]
        self._go_on(work)

    def _go_on(self, work: _Work) -> None:
        digest, level = work.artifact.digest, self.level(work.artifact.digest)
        if work.busy:
            return
        if level == NOTHING:
            if work.tries >= self._settings.fetch_tries or not work.sources:
                why = "no peer that has it could be reached" if work.tries == 0 else "it could not be fetched"
                damage = self._damage.get(digest)
                self._give_up(work, f"{damage}; {why}" if damage else why)
                return
            work.busy, work.tries = True, work.tries + 1
            work.asked = work.sources.pop(0)
            self._turn.do(Fetch(work.artifact, work.asked))
        elif level == HERE and work.prepare:
            work.busy = True
            self._turn.do(Prepare(work.artifact, work.runtime))
        else:
            del self._work[digest]

    def _give_up(self, work: _Work, why: str, capsule_fault: bool = False) -> None:
        self._work.pop(work.artifact.digest, None)
        self._changed(work.artifact.digest, why, capsule_fault)

    def fetched(self, event: Fetched) -> None:
        """A fetch ended."""
        work = self._work.get(event.digest)
        if not event.why:
            self._rise(event.digest, HERE)
        if work is None:
            return
        work.busy = False
        if event.why:
            work.sources.append(work.asked)  # again, after the others
            self._turn.count("fetch_failed")
            if work.tries >= self._settings.fetch_tries:
                self._give_up(work, event.why)
                return
        else:
            self._changed(event.digest, "", False)
        self._go_on(work)

    def prepared(self, event: Prepared) -> None:
        """A preparation ended. A damaged artifact is fetched again, from whoever has it."""
        work = self._work.get(event.digest)
        if work:
            work.busy = False
        if event.damaged:
            self.fall(event.digest, NOTHING, event.why)
            if work:
                self._go_on(work)
        elif not event.why:
            self._rise(event.digest, PREPARED)
            self._work.pop(event.digest, None)
            self._changed(event.digest, "", False)
        elif work:
            self._give_up(work, event.why, event.capsule_fault)

    def fall(self, digest: str, level: int, why: str) -> None:
        """What was here of an artifact is gone or of no use; this much of it is left."""
        if self.level(digest) > level:
            self._level[digest], self._since[digest], self._damage[digest] = level, self._turn.now, why
            self._turn.note("artifact.damaged", digest=digest, reason=why)

    def _rise(self, digest: str, level: int) -> None:
        if self.level(digest) < level:
            self._level[digest], self._since[digest] = level, self._turn.now
            self._damage.pop(digest, None)
