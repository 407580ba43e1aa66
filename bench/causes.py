"""Why a target is missed: written by hand after profiling, by a row's key. Shown beside misses only."""

from __future__ import annotations

from typing import Final

UNKNOWN: Final = "not yet explained"
CAUSES: Final[dict[str, str]] = {}
