"""A seeded minute of bad weather over five real nodes. A seed that failed is kept in ``SEEDS``."""

from pathlib import Path
from typing import Final

import pytest

from tests.chaos.storm import storm
from tests.chaos.weather import schedule

SEEDS: Final = (1,)
SECONDS: Final = 60.0


@pytest.mark.timeout(240)
@pytest.mark.xdist_group("chaos")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_minute_of_bad_weather(tmp_path: Path, seed: int) -> None:
    found = storm(tmp_path, seed, SECONDS)
    assert not found.violations, found.summary()
    assert any(one.status == 200 for one in found.asked)


def test_a_seed_tells_the_same_story_again() -> None:
    assert schedule(7, 5, 600.0) == schedule(7, 5, 600.0) != schedule(8, 5, 600.0)
    assert {act.what for act in schedule(7, 5, 600.0)} == {"kill", "stop", "lose", "end", "launch"}


def test_never_more_than_two_are_away() -> None:
    acts = [act for act in schedule(3, 5, 3600.0) if act.for_s]
    for act in acts:
        away = [other for other in acts if other.at_s <= act.at_s < other.at_s + other.for_s]
        assert len(away) <= 2
