"""Why a target is missed: written by hand after profiling, by a row's key. Shown beside misses only."""

from __future__ import annotations

from typing import Final

UNKNOWN: Final = "not yet explained"
CAUSES: Final[dict[str, str]] = {
    "warm/default": "of 69 µs the kernel's TCP takes 19, the same for the peer; wasmtime's instance, host calls "
    "and clean-up 36, hyper and tokio 9; Falak's own code, all of it, 5 (see the lessons)",
    "warm/tuned": "as above: what both sides share leaves too little that could differ",
    "cold/p50": "a trial costs 9.5 ms of CPU in five processes that share two cores: 31 messages, 35 steps of "
    "Python of 0.15 ms",
    "join/ready": "imports: 0.19 s of CPU before the node begins",
    "crowd/list": "a start costs 0.28 s of CPU, mostly imports (the commands' library 0.07, asyncio 0.05, the core "
    "0.03): twenty of them are 2.8 s on two cores",
    "ps/whole": "imports: 0.1 s of it the commands' library",
    "idle/cpu": "140 wake-ups a second of 55 µs: two neighbours that watch each other beat on two streams, and "
    "every peer has timers of its own (see the lessons)",
}
