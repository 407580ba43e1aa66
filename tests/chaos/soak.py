"""``python -m tests.chaos.soak MINUTES [SEED]``: storms of five minutes one after another, each with the next seed.

Prints every summary; ends with 1 if there was a violation. A seed that found one belongs into ``test_minute``.
"""

import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.storm import storm

STORM_S = 300.0


def main(minutes: float, seed: int) -> int:
    """Exit code."""
    ends, bad = time.monotonic() + minutes * 60, []
    while time.monotonic() < ends:
        seconds = min(STORM_S, ends - time.monotonic())
        with tempfile.TemporaryDirectory(prefix="falak-soak-") as folder:
            found = storm(Path(folder), seed, seconds)
        print(found.summary(), flush=True)
        bad += [seed] if found.violations else []
        seed += 1
    print(f"seeds with violations: {bad or 'none'}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1))
