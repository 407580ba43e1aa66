"""Numbers of a claim: targets, spreads, rows, verdicts. Pure: no process, clock or file.

A figure is the median over the rounds of a run with its smallest and largest round; a ratio is made in each
round, of the two that were measured next to each other, and only then summed up: on a machine whose speed
drifts, the ratio of two medians says less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Final, Literal

import msgspec

ROUNDS_MIN: Final = 5
"""Rounds of a run whose figures may be written down."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a row promises: at most ``at_most`` of the ratio to the peer, or of the figure in ``unit``.
    ``at_most`` is None for a row that only stands beside another. ``key`` is unique among all claims."""

    key: str
    what: str
    unit: str
    at_most: float | None = None
    of: Literal["ratio", "figure"] = "figure"


class Spread(msgspec.Struct, frozen=True):
    """A figure and how far single rounds were from it."""

    middle: float
    low: float
    high: float


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table. ``peer`` has its version in it; ``note`` is what else a reader should know;
    ``others`` is the share (0..1) of the machine's cores that went to work which was not the benchmark's."""

    target: Target
    falak: Spread
    rounds: int
    peer: str = ""
    beside: Spread | None = None
    ratio: Spread | None = None
    note: str = ""
    others: float = 0.0

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target.at_most is None:
            return None
        judged = self.falak if self.target.of == "figure" else self.ratio
        return judged is not None and judged.middle <= self.target.at_most


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` (0..1) of the values do not exceed. At least one value."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(rounds: Sequence[float]) -> Spread:
    """Median, smallest and largest of one number a round."""
    return Spread(median(rounds), min(rounds), max(rounds))


def pooled(rounds: Sequence[Sequence[float]], share: float) -> Spread:
    """A quantile over the samples of all rounds, and the smallest and largest of the rounds' own: for tails,
    of which one round alone has too few samples."""
    own = [quantile(samples, share) for samples in rounds]
    return Spread(quantile([sample for samples in rounds for sample in samples], share), min(own), max(own))


def against(target: Target, falak: Sequence[float], peer: Sequence[float], who: str, note: str = "") -> Row:
    """A row of a figure and its peer's, measured in the same rounds (one number a round, same order)."""
    ratios = [ours / theirs for ours, theirs in zip(falak, peer, strict=True)]
    return Row(
        target=target,
        falak=spread(falak),
        rounds=len(falak),
        peer=who,
        beside=spread(peer),
        ratio=spread(ratios),
        note=note,
    )


def alone(target: Target, figure: Spread, rounds: int, note: str = "") -> Row:
    """A row that is judged by its own figure."""
    return Row(target=target, falak=figure, rounds=rounds, note=note)
