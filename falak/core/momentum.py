"""What this node runs: copies of capsules from their start to their end, and what is reserved for them.

Owns instances and this node's failures. It never elects and never claims: the election tells it to begin,
to confirm or to cancel, and it tells ``Holder`` what became of the copy. Transitions of a copy (a transition
that is not in the table raises ``ImpossibleTransition`` with the copy's history):

    start  --Started-->      active     it answers requests, if the election was won
    start  --StartFailed-->  failure    it will not run here (where what it needs has to be prepared again, it
                                        starts anew after that, once)
    start  --stop-->         end        the election was lost, or a newer generation came
    active --drain-->        draining   no request is sent to it any more; the cause is written down now
    active --stop-->         end        it never served
    draining --Drained, or drain_grace_s-->  end     those under way were answered, or had their time
    draining --Ended-->      end        it ended by itself
    active --Ended-->        failure    it ended behind our back
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from falak.core.artifacts import HERE, PREPARED, Artifacts
from falak.core.effects import DrainCopy, Start, Stop
from falak.core.events import Drained, Ended, Started, StartFailed
from falak.core.gravity import Failures
from falak.core.model import Record
from falak.core.orbits import Orbits
from falak.core.settings import Settings
from falak.core.turn import Turn

START: Final = "start"
ACTIVE: Final = "active"
DRAINING: Final = "draining"
FAILURE: Final = "failure"
END: Final = "end"
TRANSITIONS: Final = frozenset(
    {
        (START, ACTIVE),
        (START, FAILURE),
        (START, END),
        (ACTIVE, DRAINING),
        (ACTIVE, END),
        (ACTIVE, FAILURE),
        (DRAINING, END),
    }
)


class ImpossibleTransition(Exception):
    """A copy was to go where its state does not lead; the text holds its history."""


class Holder(Protocol):
    """Who is told of a copy: the election that began it."""

    def copy_active(self, copy: Copy) -> None:
        """The copy answers now."""

    def copy_failed(self, copy: Copy, why: str, capsule_fault: bool) -> None:
        """The copy is over without having been stopped."""


class Copy(msgspec.Struct):
    """One instance of a capsule on this node. ``confirmed``: its election was won. ``queued``: it waits for
    its artifact to be fetched or prepared; ``again``: it did so a second time. ``ending``: it gets no more
    requests, since ``ending_at``. ``why``: what ended it."""

    instance: int
    record: Record
    slot: int
    cause: str
    since: float
    state: str = START
    confirmed: bool = False
    queued: bool = False
    again: bool = False
    ending: bool = False
    ending_at: float = 0.0
    load_s: float = 0.0
    why: str = ""
    history: list[str] = msgspec.field(default_factory=list)

    @property
    def name(self) -> str:
        """The capsule's name."""
        return self.record.name


class Momentum:
    """The room."""

    def __init__(
        self, turn: Turn, settings: Settings, orbits: Orbits, artifacts: Artifacts, holder: Holder
    ) -> None:
        self._turn, self._settings, self._orbits, self._artifacts = turn, settings, orbits, artifacts
        self._holder = holder
        self.copies: dict[int, Copy] = {}
        self.failures = Failures(settings.failures_halflife_s)
        self._reserved = (0, 0)
        self._next = 0

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Copies that start at once and their limit."""
        return {"copies starting": (self._settings.starts_max - self.starts_left(), self._settings.starts_max)}

    # --- what others ask ---------------------------------------------------------------------------------

    def won(self, name: str) -> list[Copy]:
        """Copies of a capsule whose election was won, starting ones included."""
        return [c for c in self.copies.values() if c.name == name and c.confirmed]

    def serving(self, name: str) -> list[Copy]:
        """Copies of a capsule that requests may be sent to."""
        return [c for c in self.won(name) if c.state == ACTIVE and not c.ending]

    def running(self) -> frozenset[str]:
        """Names of the capsules with a copy here, starting ones included."""
        return frozenset(copy.name for copy in self.copies.values())

    def reserved(self) -> tuple[int, int]:
        """CPU (thousandths of a core) and memory (bytes) that the copies here declared."""
        return self._reserved

    def starts_left(self) -> int:
        """Copies that may begin to start now."""
        return self._settings.starts_max - sum(1 for c in self.copies.values() if c.state == START)

    # --- what the election tells -------------------------------------------------------------------------

    def begin(self, record: Record, slot: int, cause: str) -> Copy:
        """Start a copy, before the election is won (what it needs is reserved from now on). It may be in
        ``FAILURE`` at once, where what it needs cannot be had; then ``Holder`` was told already."""
        self._next += 1
        copy = Copy(self._next, record, slot, cause, self._turn.now)
        self.copies[copy.instance] = copy
        self._reserve(record, 1)
        self._turn.after(self._settings.start_s, "momentum", "start", str(copy.instance))
        if self._is_prepared(record):
            self._turn.do(Start(copy.instance, record))
        else:
            copy.queued = True
            self._turn.count("start_unprepared")
            self._orbits.fetch_for_start(record)
        return copy

    def _reserve(self, record: Record, sign: int) -> None:
        need, (cpu, memory) = record.resources, self._reserved
        self._reserved = (cpu + sign * need.cpu_millis, memory + sign * need.memory_bytes)

    def _is_prepared(self, record: Record) -> bool:
        return all(self._artifacts.level(a.digest) >= PREPARED for a in record.artifacts)

    def confirm(self, copy: Copy) -> None:
        """The election was won: a copy that is active serves from now on."""
        copy.confirmed = True
        if copy.state == ACTIVE:
            self._note_started(copy)
            self._holder.copy_active(copy)

    def drain(self, copy: Copy, why: str) -> None:
        """End a copy on purpose that no request is sent to any more: once those under way are answered. One
        that has not started ends at once."""
        if copy.state != ACTIVE:
            if copy.state == START:
                self.stop(copy, why)
            return
        copy.why, copy.ending, copy.ending_at = why, True, self._turn.now
        self._go(copy, DRAINING, why)
        self._turn.note("momentum.draining", copy.cause, capsule=copy.name, slot=copy.slot, reason=why)
        self._turn.after(self._settings.drain_grace_s, "momentum", "drain", str(copy.instance))
        self._turn.do(DrainCopy(copy.instance))

    def drained(self, event: Drained) -> None:
        """Nothing is under way at a copy that drains."""
        copy = self.copies.get(event.instance)
        if copy and copy.state == DRAINING:
            self.stop(copy, copy.why)

    def stop(self, copy: Copy, why: str) -> None:
        """End a copy on purpose, now."""
        if copy.state == DRAINING:
            self._note_ended(copy, why)
        self._go(copy, END, why)
        self._close(copy)
        if not copy.queued:
            self._turn.do(Stop(copy.instance, why))

    def _close(self, copy: Copy) -> None:
        if self.copies.pop(copy.instance, None):
            self._reserve(copy.record, -1)
        for timer in ("start", "drain"):
            self._turn.timers.cancel(("momentum", timer, str(copy.instance)))

    # --- what happened -----------------------------------------------------------------------------------

    def artifact_changed(self, digest: str, why: str, capsule_fault: bool) -> None:
        """What a queued copy waits for is here, prepared, or will not be."""
        for copy in list(self.copies.values()):
            if not copy.queued or all(a.digest != digest for a in copy.record.artifacts):
                continue
            if why:
                self._fail(copy, why, capsule_fault)
            elif self._is_prepared(copy.record):
                copy.queued = False
                self._turn.do(Start(copy.instance, copy.record))
            else:
                self._orbits.fetch_for_start(copy.record)

    def started(self, event: Started) -> None:
        """The runtime has it running; an unknown instance was stopped meanwhile."""
        copy = self.copies.get(event.instance)
        if copy is None or copy.state != START:
            self._turn.count("started_after_stop")
            return
        copy.load_s = event.load_s
        self._go(copy, ACTIVE, f"loaded in {event.load_s * 1000:.1f} ms")
        self._turn.timers.cancel(("momentum", "start", str(copy.instance)))
        if copy.confirmed:
            self._note_started(copy)
        self._holder.copy_active(copy)

    def start_failed(self, event: StartFailed) -> None:
        """The runtime could not start it."""
        copy = self.copies.get(event.instance)
        if copy is None or copy.state != START:
            return
        if event.unprepared:
            for artifact in copy.record.artifacts:
                self._artifacts.fall(artifact.digest, HERE, event.why)
        if event.unprepared and not copy.again:
            copy.again = copy.queued = True
            self._orbits.fetch_for_start(copy.record)
        else:
            self._fail(copy, event.why, event.capsule_fault)

    def ended(self, event: Ended) -> None:
        """A copy ended; known ones did so behind our back."""
        copy = self.copies.get(event.instance)
        if copy is None:
            return
        if copy.state == DRAINING:
            self._note_ended(copy, copy.why)
            self._go(copy, END, event.why)
            self._close(copy)
            return
        if copy.confirmed and copy.state == ACTIVE:
            self._note_ended(copy, event.why)
        self._fail(copy, event.why, False)

    def due(self, what: str, instance: str) -> None:
        """A copy did not start in time, or has requests under way still when its grace is over."""
        copy = self.copies.get(int(instance))
        if copy and what == "drain" and copy.state == DRAINING:
            self._turn.count("drain_grace_over")
            self.stop(copy, copy.why)
        elif copy and what == "start" and copy.state == START:
            if not copy.queued:
                self._turn.do(Stop(copy.instance, "start deadline"))
            self._fail(copy, f"it did not start within {self._settings.start_s:g} s", False)

    def _fail(self, copy: Copy, why: str, capsule_fault: bool) -> None:
        self._go(copy, FAILURE, why)
        copy.why = why
        self._close(copy)
        self.failures.add(copy.name, self._turn.now)
        if not capsule_fault:
            self.failures.add("", self._turn.now)
        self._turn.note("momentum.failed", copy.cause, capsule=copy.name, slot=copy.slot, reason=why)
        self._holder.copy_failed(copy, why, capsule_fault)

    def failure_weight(self, name: str) -> float:
        """What speaks against this node for a capsule: its failures here, and those the node caused."""
        return self.failures.weight(name, self._turn.now) + self.node_failure_weight()

    def node_failure_weight(self) -> float:
        """What speaks against this node for every capsule: failures that it caused."""
        return self.failures.weight("", self._turn.now)

    def _go(self, copy: Copy, to: str, why: str) -> None:
        copy.history.append(f"{copy.state} -> {to}: {why}")
        if (copy.state, to) not in TRANSITIONS:
            raise ImpossibleTransition(f"copy {copy.instance} of {copy.name}: " + "; ".join(copy.history))
        copy.state = to

    def _note_started(self, copy: Copy) -> None:
        self._turn.note(
            "momentum.started",
            copy.cause,
            capsule=copy.name,
            slot=copy.slot,
            generation=copy.record.generation,
            load_ms=round(copy.load_s * 1000, 3),
        )

    def _note_ended(self, copy: Copy, why: str) -> None:
        drained_ms = round((self._turn.now - copy.ending_at) * 1000, 3) if copy.ending_at else 0.0
        self._turn.note(
            "momentum.ended",
            copy.cause,
            capsule=copy.name,
            slot=copy.slot,
            reason=why,
            drained_ms=drained_ms,
        )
