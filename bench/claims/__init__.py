"""The claims, one a file, in the order in which they are told."""

from __future__ import annotations

from typing import Final

from bench.claims import cold, crowd, failover, forward, idle, join, ps, warm
from bench.run import Claim

CLAIMS: Final[dict[str, Claim]] = {
    module.CLAIM.name: module.CLAIM for module in (warm, forward, cold, failover, join, crowd, ps, idle)
}
