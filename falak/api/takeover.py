"""The wait of a launch for its generation: the older one serves on until a newer answers. It changes nothing."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from falak.api.desk import Desk

TAKEOVER_S: Final = 30.0
"""A newer generation that has not taken over by then is told as not serving; it goes on being tried."""
LOOK_S: Final = 0.01


async def taken_over(desk: Desk, name: str, generation: int) -> str:
    """Wait until no request goes from here to an older copy; why that did not come, "" when it did."""
    ends_at = time.monotonic() + TAKEOVER_S
    while desk.node.election.calls.uses_older(name, generation):
        if time.monotonic() > ends_at:
            noted = desk.notes.after(0, name)
            whys = [item["reason"] for item in noted if item["event"] == "capsule.not_replaced"]
            why = whys[-1] if whys else f"it did not start within {TAKEOVER_S:g} s"
            return f"generation {generation}: {why}. The older one goes on answering"
        await asyncio.sleep(LOOK_S)
    return ""
