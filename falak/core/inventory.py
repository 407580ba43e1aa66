"""What a node has of each orbit, in a form that two nodes compare cheaply: sums over buckets of names.

Owns names, generations, digests and their sums. It knows no record's content, compares nothing and sends
nothing. A name falls into one of ``BUCKETS`` by its hash; the sum of a bucket is the exclusive or of the digests
in it, so it is the same for the same set whatever came first, and a change costs one operation.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

BUCKETS: Final = 64
"""Every node of a mesh must have the same. More: less to list where one record differs. Fewer: shorter sums."""
SUM_BYTES: Final = 8

Entry = tuple[str, int, bytes]
"""Name, generation, digest."""


def bucket_of(name: str) -> int:
    """The bucket of a name."""
    return blake2b(name.encode(), digest_size=1).digest()[0] % BUCKETS


class _Orbit:
    """The buckets of one orbit."""

    def __init__(self) -> None:
        self.size = 0
        self.sums = [0] * BUCKETS
        self.buckets: list[dict[str, Entry]] = [{} for _ in range(BUCKETS)]


class Inventory:
    """Entries by orbit and bucket."""

    def __init__(self) -> None:
        self._orbits: dict[str, _Orbit] = {}
        self._orbit_of: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._orbit_of)

    def put(self, orbit: str, name: str, generation: int, digest: bytes) -> None:
        """This is here of a name now, instead of what was."""
        self.drop(name)
        place, at = self._orbits.setdefault(orbit, _Orbit()), bucket_of(name)
        place.buckets[at][name] = (name, generation, digest)
        place.sums[at] ^= int.from_bytes(digest[:SUM_BYTES])
        place.size += 1
        self._orbit_of[name] = orbit

    def drop(self, name: str) -> None:
        """Nothing is here of a name; fine if nothing was."""
        orbit = self._orbit_of.pop(name, None)
        if orbit is None:
            return
        place, at = self._orbits[orbit], bucket_of(name)
        _, _, digest = place.buckets[at].pop(name)
        place.sums[at] ^= int.from_bytes(digest[:SUM_BYTES])
        place.size -= 1
        if not place.size:
            del self._orbits[orbit]

    def sums(self, orbits: Iterable[str]) -> tuple[bytes, ...]:
        """A sum a bucket over several orbits."""
        folded = [0] * BUCKETS
        for orbit in orbits:
            if place := self._orbits.get(orbit):
                folded = [one ^ other for one, other in zip(folded, place.sums, strict=True)]
        return tuple(one.to_bytes(SUM_BYTES) for one in folded)

    def entries(self, orbits: Iterable[str], bucket: int) -> list[Entry]:
        """What is in a bucket of several orbits, by name."""
        places = (self._orbits.get(orbit) for orbit in orbits)
        return sorted(entry for place in places if place for entry in place.buckets[bucket].values())
