"""Why a target is missed: written by hand after profiling, by a row's key. Shown beside misses only."""

from __future__ import annotations

from typing import Final

UNKNOWN: Final = "not yet explained"
CAUSES: Final[dict[str, str]] = {
    "warm/default": "not profiled apart yet: beside the trial code (0.32) stand the guard over HTTP/1 bytes, "
    "forwarding headers, an environment and a log for each instance, and the thread's CPU clock",
    "warm/tuned": "as above",
    "cold/p50": "five processes on two cores: some 40 messages and their claims, all handled by Python, share them",
    "crowd/list": "0.28 s of CPU a node to start, mostly imports (commands' library 0.1 s, core 0.06 s), "
    "times twenty on two cores",
    "idle/cpu": "140 wake-ups a second: beats of four neighbours both ways, a timer a read; Python takes 0.25 %",
    "ps/whole": "imports of the commands' library, 0.1 s of it; the rest is the mesh's answer",
}
