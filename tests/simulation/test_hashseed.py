"""The same seed gives the same bytes, whatever PYTHONHASHSEED is: no set is iterated, no clock is read."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLAYED = """
from falak.sim.scenario import draw, play
from falak.sim.trace import Trace
for seed in (1, 10, 46, 114, 181, 12):
    traces = []
    play(draw(seed), lambda world: traces.append(Trace(world, hidden=frozenset())))
    print(seed, *traces[0].lines, sep="\\n")
"""


def trace(hash_seed: str) -> str:
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PLAYED], env=environment, capture_output=True, text=True, timeout=100, check=True
    )
    return done.stdout


def test_traces_are_byte_identical_under_two_hash_seeds() -> None:
    one, other = trace("0"), trace("4711")
    assert len(one.splitlines()) > 10_000
    assert one == other
