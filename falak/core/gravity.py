"""Gravity: how strongly a node is drawn to a capsule, or the reason why it refuses. Pure functions of a view.

``gravity = f(cpu_score, mem_score, latency, tag_affinity)`` as the founding text has it, plus what is here
already (locality), how copies fared here (health) and how many copies are here (room). A node weighs itself
from fresh state; a convener estimates others from what they last said of themselves; both use ``weigh``.

Every term is in 0..1 and rises with what is good; gravity is their weighted mean in 1/1,000,000, so it is
monotone in each. No term vanishes: what a capsule does not declare scores the node's free share, no history
scores good, a copy that idles still counts against room. Health outweighs locality, and locality fades with
age, so that a sick holder does not keep its work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from falak.core.model import Profile, Record
from falak.core.settings import GRAVITY_ONE


class Weights(msgspec.Struct, frozen=True):
    """The share of each term. Larger: that term decides more often. Raises ``ValueError`` unless all are
    finite and above 0 and health is above locality."""

    cpu: float = 0.17
    memory: float = 0.13
    latency: float = 0.10
    tags: float = 0.12
    locality: float = 0.13
    health: float = 0.20
    room: float = 0.15

    def __post_init__(self) -> None:
        values = [getattr(self, f.name) for f in msgspec.structs.fields(self)]
        if not all(math.isfinite(v) and v > 0 for v in values):
            raise ValueError("every weight of gravity is a finite number above 0")
        if self.health <= self.locality:
            raise ValueError("health must weigh more than locality, or a sick holder keeps its work")


LATENCY_HALF_S = 0.02
"""Round trip at which the latency term is one half."""
ROOM_HALF = 8
"""Copies at which the room term is one half."""
LOCALITY_HALFLIFE_S = 24 * 3600.0
"""The locality of something prepared fades by half in this time, never below half."""


class View(msgspec.Struct, frozen=True):
    """A node as whoever weighs it sees it. ``artifact`` is 0 (nothing here), 1 (here) or 2 (prepared)."""

    profile: Profile
    rtt_s: float = 0.0
    artifact: int = 0
    artifact_age_s: float = 0.0
    failures: float = 0.0
    copies: int = 0
    neighbours: frozenset[str] = msgspec.field(default_factory=frozenset)
    zone_taken: bool = False
    starts_left: int = 1


class Pull(msgspec.Struct, frozen=True):
    """A weighing's result: gravity in 1/1,000,000 and its terms (each 0..1), for ``falak why``."""

    gravity: int
    terms: Mapping[str, float]


def refusal(record: Record, view: View) -> str:
    """Why the node will not run the capsule, for people; "" when it would."""
    profile, need = view.profile, record.resources
    free = profile.capacity
    if profile.draining:
        return "it is draining"
    if record.orbit not in profile.orbits:
        return f"it does not watch orbit {record.orbit}"
    if record.runtime not in profile.runtimes:
        return f"it has no runtime {record.runtime}"
    missing = [wish for wish in record.wishes.require if not _meets(profile, wish)]
    if missing:
        return "it lacks " + ", ".join(missing)
    if need.memory_bytes > free.free_memory_bytes:
        return f"needs {_mib(need.memory_bytes)} of memory, {_mib(free.free_memory_bytes)} are free"
    if need.cpu_millis > free.free_cpu_millis:
        return f"needs {need.cpu_millis / 1000:g} cores, {free.free_cpu_millis / 1000:g} are free"
    if view.starts_left <= 0:
        return "it is busy starting other copies"
    if record.wishes.away and record.wishes.away in view.neighbours:
        return f"it runs {record.wishes.away}, which this capsule keeps away from"
    return ""


def weigh(record: Record, view: View, weights: Weights) -> Pull:
    """How strongly the node is drawn. Call ``refusal`` first. Raises ``ValueError`` on a number that is
    none (NaN or infinite)."""
    terms = _terms(record, view)
    if not all(math.isfinite(value) for value in terms.values()):
        raise ValueError(f"gravity of {view.profile.node.name} for {record.name} is not a number: {terms}")
    whole = sum(getattr(weights, name) for name in terms)
    blend = sum(getattr(weights, name) * min(1.0, max(0.0, value)) for name, value in terms.items())
    return Pull(round(GRAVITY_ONE * blend / whole), terms)


def _terms(record: Record, view: View) -> dict[str, float]:
    capacity = view.profile.capacity
    cpu_free = _share(capacity.free_cpu_millis - record.resources.cpu_millis, capacity.cpu_millis)
    idle = 1.0 - min(1.0, _share(capacity.load_millis, capacity.cpu_millis))
    fade = max(0.5 ** (max(view.artifact_age_s, 0.0) / LOCALITY_HALFLIFE_S), 0.5)
    return {
        "cpu": (cpu_free + idle) / 2,
        "memory": _share(capacity.free_memory_bytes - record.resources.memory_bytes, capacity.memory_bytes),
        "latency": 1.0 / (1.0 + max(view.rtt_s, 0.0) / LATENCY_HALF_S),
        "tags": _affinity(record, view),
        "locality": (0.0, 0.6, 1.0)[view.artifact] * fade,
        "health": 1.0 / (1.0 + max(view.failures, 0.0)),
        "room": 1.0 / (1.0 + max(view.copies, 0) / ROOM_HALF),
    }


def _affinity(record: Record, view: View) -> float:
    """The share of the capsule's wishes that this node meets; 1 when it has none."""
    wishes = record.wishes
    met = [_meets(view.profile, wish) for wish in wishes.prefer]
    if wishes.near:
        met.append(wishes.near in view.neighbours)
    if wishes.spread:
        met.append(not view.zone_taken)
    return sum(met) / len(met) if met else 1.0


def _meets(profile: Profile, wish: str) -> bool:
    if wish.startswith("zone="):
        return profile.node.zone == wish[5:]
    if wish.startswith("arch="):
        return profile.arch == wish[5:]
    return wish in profile.tags


def _share(part: int, whole: int) -> float:
    return max(0.0, part / whole) if whole > 0 else 0.0


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 1024 / 1024:.0f} MiB"


class Failures:
    """Failures that fade: each counts 1 when it happens and halves in ``halflife_s``. Bounded: beyond
    ``keys_max`` the most faded key is forgotten."""

    def __init__(self, halflife_s: float, keys_max: int = 4096) -> None:
        self._halflife_s = halflife_s
        self._keys_max = keys_max
        self._seen: dict[str, tuple[float, float]] = {}

    def add(self, key: str, now: float) -> None:
        """One more failure under the key."""
        self._seen[key] = (self.weight(key, now) + 1.0, now)
        if len(self._seen) > self._keys_max:
            del self._seen[min(self._seen, key=lambda k: self.weight(k, now))]

    def weight(self, key: str, now: float) -> float:
        """What is left of the key's failures."""
        amount, at = self._seen.get(key, (0.0, now))
        faded: float = 0.5 ** (max(0.0, now - at) / self._halflife_s)
        return amount * faded
