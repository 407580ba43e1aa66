"""Limits and intervals: the one formula, and bounds that must stand in a relation to each other."""

import inspect

import msgspec
import pytest

from falak.core.settings import ELECTORS, KEEPERS, Settings, heartbeat_interval_s


@pytest.mark.parametrize(("members", "seconds"), [(1, 2.0), (5, 2.0), (7, 2.0), (8, 2.048), (256, 65.536)])
def test_heartbeats_are_rarer_in_larger_cells(members: int, seconds: float) -> None:
    assert heartbeat_interval_s(Settings(), members) == pytest.approx(seconds)


def test_a_node_receives_no_more_heartbeat_bytes_than_its_budget() -> None:
    settings = Settings()
    for members in range(1, 257):
        received = members * 5 * 1024 / heartbeat_interval_s(settings, members)
        assert received <= settings.heartbeat_budget_bytes_s * 1.000001


def test_waits_are_in_an_order_that_lets_reasons_arrive() -> None:
    settings = Settings()
    assert settings.convene_deadline_s < settings.call_deadline_s
    assert settings.vote_hold_s < settings.election_retry_s < settings.candidacy_s
    assert settings.vote_silence_s > settings.vote_hold_s
    assert KEEPERS < ELECTORS


def test_every_setting_says_what_it_means() -> None:
    source = inspect.getsource(Settings)
    names = [field.name for field in msgspec.structs.fields(Settings)]
    documented = source.count('"""') // 2 - 1
    assert documented >= len(names) - 1  # redial_first_s and redial_max_s share their words
