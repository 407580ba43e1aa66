"""How long to wait for others: smoothed from what was seen, after RFC 6298 (srtt + 4 var)."""

from __future__ import annotations


class Delays:
    """Estimates by kind: "heard" (a call to the elector's word that it sees to it), "look" (a convener's look
    at another elector), "ask" (a summons of the first candidate to the first vote for it)."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, float]] = {}

    def sample(self, kind: str, seconds: float) -> None:
        """Something of this kind took so long."""
        if kind not in self._seen:
            self._seen[kind] = (seconds, seconds / 2)
            return
        mean, var = self._seen[kind]
        self._seen[kind] = (mean + (seconds - mean) / 8, var + (abs(seconds - mean) - var) / 4)

    def patience(self, kind: str) -> float:
        """Seconds within which nearly all of this kind ended; 0 before the first sample."""
        mean, var = self._seen.get(kind, (0.0, 0.0))
        return mean + 4 * var
