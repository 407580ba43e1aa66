"""Claims beside one another: which of two on a slot stays, and one digest over many. Pure functions of claims."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import msgspec

from falak.core.model import Claim


def standing(claim: Claim) -> tuple[int, int, int, str, int, int]:
    """The order between claims on one slot: newer generation, then epoch, gravity and holder; between two
    words of one holder the later sequence. Uses only what every claim carries, so it is total."""
    return (claim.generation, claim.epoch, claim.gravity, claim.holder, claim.boot, claim.sequence)


def digest_of(claims: Iterable[Claim]) -> bytes:
    """16 bytes over a set of claims, in any order: the exclusive or of their hashes."""
    folded = 0
    for claim in claims:
        folded ^= int.from_bytes(blake2b(msgspec.msgpack.encode(claim), digest_size=16).digest())
    return folded.to_bytes(16)
