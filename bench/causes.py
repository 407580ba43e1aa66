"""Why a target is missed: written by hand after profiling, by a row's key. Shown beside misses only."""

from __future__ import annotations

from typing import Final

UNKNOWN: Final = "not yet explained"
CAUSES: Final[dict[str, str]] = {
    "warm/default": "the target came from a first experiment on another machine (0.32). Measured in turn on this "
    "one, that experiment is at 0.52, Falak at 0.52: the kernel's TCP, 19 of 68 µs, is the same for both sides and "
    "dearer here (see the lessons)",
    "warm/tuned": "as above: the experiment is at 0.67, Falak at 0.68",
    "cold/p50": "a trial costs 9.5 ms of CPU in five processes that share two cores: 31 messages, 35 steps of "
    "Python of 0.15 ms",
    "join/ready": "imports: 0.19 s of CPU before the node begins",
    "crowd/list": "a start costs 0.28 s of CPU, mostly imports (the commands' library 0.07, asyncio 0.05, the core "
    "0.03): twenty of them are 2.8 s on two cores",
    "ps/whole": "imports: 0.1 s of it the commands' library",
    "idle/cpu": "65 wake-ups a second of 55 µs: beats of four neighbours, heartbeats, the pulse of the loop",
}
