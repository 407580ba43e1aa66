"""200 short histories by seed: random sizes, weathers, crashes, restarts, cuts, start faults, many capsules.

After every step nothing exceeds its limit, at its deadline every request was answered or refused with a
reason, and once quiet one node holds a slot, claims what it serves, and all directories agree
(``falak.sim.invariants``).
A failure prints the shortest history that still breaks, with its trace. To play one seed:

    python -m pytest tests/simulation/test_seeds.py -k 'chunk and 37'       (seeds 185 to 189)
    python -c 'from falak.sim.scenario import draw; from falak.sim.shrink import story; print(story(draw(187)))'
"""

import pytest

from falak.sim.invariants import Broken
from falak.sim.scenario import Plan, draw, play
from falak.sim.shrink import story
from tests.simulation.kept import KEPT

SEEDS = 200
CHUNK = 5
"""Seeds a test: few enough that two processes share the work evenly."""


def hold(plan: Plan) -> None:
    try:
        play(plan)
    except Exception as error:
        pytest.fail(f"{type(error).__name__}: {error}\n\n{story(plan)}", pytrace=not isinstance(error, Broken))


@pytest.mark.parametrize("chunk", range(SEEDS // CHUNK))
def test_short_histories(chunk: int) -> None:
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        hold(draw(seed))


@pytest.mark.parametrize("seed", KEPT, ids=str)
def test_seeds_that_once_broke(seed: int) -> None:
    hold(draw(seed))
