"""Who is responsible for a key: electors, keepers, ring neighbours. One hash, highest wins; no state.

Rendezvous hashing (Thaler and Ravishankar, 1996): every node computes the same answer from the same members,
and a member that comes or goes moves only the keys it wins or won.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b

from falak.core.settings import ELECTORS, KEEPERS


@lru_cache(maxsize=65_536)
def weight(key: str, member: str) -> int:
    """64 bits of blake2b over key and member. The cache (65,536 pairs) only saves time."""
    return int.from_bytes(blake2b(f"{key}\0{member}".encode(), digest_size=8).digest())


def electors(key: str, members: Iterable[str]) -> tuple[str, ...]:
    """The (at most) five members with the highest weight for the key, highest first."""
    ranked = sorted(members, key=lambda m: (-weight(key, m), m))
    return tuple(ranked[:ELECTORS])


def keepers(chosen: tuple[str, ...], zones: Mapping[str, str]) -> tuple[str, ...]:
    """The three of the electors that store: the first of each declared zone, then the rest in order."""
    seen: set[str] = set()
    first: list[str] = []
    for elector in chosen:
        zone = zones.get(elector, "")
        if zone and zone not in seen:
            seen.add(zone)
            first.append(elector)
    ordered = first + [e for e in chosen if e not in first] if len(seen) > 1 else list(chosen)
    return tuple(ordered[:KEEPERS])


def neighbours(me: str, members: Iterable[str], each_side: int = 3) -> tuple[str, ...]:
    """The members next to ``me`` on the ring of ids, ``each_side`` before and after, distinct, sorted."""
    ring = sorted(set(members) | {me})
    at = ring.index(me)
    others = {ring[(at + step) % len(ring)] for step in range(-each_side, each_side + 1)}
    return tuple(sorted(others - {me}))
