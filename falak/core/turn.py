"""One node's clock hand and outbox: the time of the step, its effects, its timers, its seeded randomness.

Every room of the core holds the same ``Turn``. It owns no rule; it never reads a clock.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque

from falak.core.effects import Effect, Gossip, Note, Send
from falak.core.wire import Message

TimerKey = tuple[str, ...]


class Timers:
    """Deadlines by key: a key is due once, setting it again replaces it. Due keys come in order of time, then
    of setting, so that one seed gives one history."""

    def __init__(self) -> None:
        self._at: dict[TimerKey, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, TimerKey]] = []
        self._count = 0

    def set(self, key: TimerKey, at: float) -> None:
        """Due at ``at`` (monotonic seconds), instead of what was set for the key before."""
        self._count += 1
        self._at[key] = (at, self._count)
        heapq.heappush(self._heap, (at, self._count, key))
        if len(self._heap) > 4 * len(self._at) + 64:
            self._heap = [(when, count, which) for which, (when, count) in self._at.items()]
            heapq.heapify(self._heap)

    def cancel(self, key: TimerKey) -> None:
        """Forget the key; fine if it is not set."""
        self._at.pop(key, None)

    def has(self, key: TimerKey) -> bool:
        """Whether the key is set."""
        return key in self._at

    def next_at(self) -> float | None:
        """When the earliest key is due."""
        heap = self._heap
        while heap and self._at.get(heap[0][2]) != (heap[0][0], heap[0][1]):
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def mark(self) -> int:
        """This moment: what is set later is told apart from what is set by now."""
        return self._count

    def pop_due(self, now: float, mark: int | None = None) -> TimerKey | None:
        """The earliest key that is due by ``now``, no longer set; None where that was set after ``mark``."""
        at = self.next_at()
        if at is None or at > now or (mark is not None and self._heap[0][1] > mark):
            return None
        key = heapq.heappop(self._heap)[2]
        del self._at[key]
        return key

    def room(self) -> int:
        """Entries kept, those replaced or cancelled and not yet forgotten included: at most four times the
        keys there were at the last setting, and 64."""
        return len(self._heap)

    def __len__(self) -> int:
        return len(self._at)


class Turn:
    """What a step gathers. ``me`` is this node's id; a message to it is handled within the step, and noted in
    ``own`` with the number of effects before it, so that a trace can tell the whole story."""

    def __init__(self, me: str, seed: int) -> None:
        self.me = me
        self.now = 0.0
        self.rng = random.Random(seed)
        self.timers = Timers()
        self.effects: list[Effect] = []
        self.inbox: deque[Message] = deque()
        self.own: deque[tuple[int, Message]] = deque()
        self.counters: Counter[str] = Counter()

    def do(self, effect: Effect) -> None:
        """Add an effect to this step."""
        self.effects.append(effect)

    def send(self, peer: str, message: Message) -> None:
        """Send to a peer, or to oneself."""
        if peer == self.me:
            self.inbox.append(message)
            self.own.append((len(self.effects), message))
        else:
            self.effects.append(Send(peer, message))

    def gossip(self, topic: str, message: Message) -> None:
        """Gossip to the topic's subscribers."""
        self.effects.append(Gossip(topic, message))

    def note(self, event: str, cause: str = "", **fields: object) -> None:
        """Make an event visible to people."""
        self.effects.append(Note(event, cause, tuple(fields.items())))

    def count(self, name: str) -> None:
        """Count something that is ignored or odd, by a fixed name."""
        self.counters[name] += 1

    def after(self, delay_s: float, *key: str) -> None:
        """Set a timer ``delay_s`` from now."""
        self.timers.set(key, self.now + delay_s)

    def cause(self) -> str:
        """A new cause id: 16 hex digits."""
        return f"{self.rng.getrandbits(64):016x}"
