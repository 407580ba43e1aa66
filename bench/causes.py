"""Why a target is missed: written by hand after profiling, by a row's key. Shown beside misses only."""

from __future__ import annotations

from typing import Final

UNKNOWN: Final = "not yet explained"
CAUSES: Final[dict[str, str]] = {
    "warm/default": "the target came from a first experiment on another machine (0.32). Measured in turn on this "
    "one, that experiment is at 0.52, Falak at 0.52: the kernel's TCP, 19 of 68 µs, is the same for both sides and "
    "dearer here (see the lessons)",
    "warm/tuned": "as above: the experiment is at 0.67, Falak at 0.68",
    "cold/p50": "about 9 ms of CPU a trial in five processes that share two cores with their client: some 30 messages, "
    "35 steps of Python of 0.15 ms",
    "join/ready": "imports: 0.19 s of CPU before the node begins",
    "crowd/list": "a start costs 0.2 s of CPU, imports 0.13 of it (asyncio 0.05, the core 0.02): twenty are more than "
    "4 s on two cores",
    "ps/whole": "imports: 0.1 s of it the commands' library",
    "idle/cpu": "65 wake-ups a second of 55 µs: beats of four neighbours, heartbeats, the pulse of the loop",
    "forward/p50": "a hop is two more wake-ups of a network thread, which queue behind whatever else runs on two cores",
    "failover/p99": "nodes, clients and the restart of the one killed before share two cores",
    "failover/serf": "as above",
    "failover/p50": "as above",
    "failover/lost": "see the note of the row",
}
