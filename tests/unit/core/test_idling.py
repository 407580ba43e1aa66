"""Copies that nobody needs: idle ones, spare ones, and those that must run all the same."""

import pytest

from falak.core import events as ev
from falak.core import wire
from falak.core.idling import spare_below
from falak.core.model import Record, Scale
from falak.core.settings import Settings
from tests.unit.core.rig import ROOM, Rig, record, signed


def serving(what: Record) -> Rig:
    """A lone node that runs the capsule in slot 0, as instance 1."""
    rig = Rig()
    rig.begin()
    rig.hear("n2", wire.Announce(signed(what)))
    rig.tell(ev.Wanted(what.name))
    rig.tell(ev.Started(1, 0.001))
    return rig


def sample(rig: Rig, requests: int = 0, in_flight: int = 0, most: int = 0, after_s: float = 1.0) -> None:
    rig.wait(after_s)
    rig.tell(ev.Sampled(ROOM, (ev.Used(1, in_flight, requests, most),)))


def test_a_copy_without_requests_ends_after_its_idle_time_and_not_before() -> None:
    rig = serving(record("c", idle_s=5))
    for _ in range(5):
        sample(rig)
        assert rig.node.momentum.serving("c")
    sample(rig)
    assert rig.notes("momentum.idle") == [{"capsule": "c", "slot": 0, "idle_s": 5}]
    assert rig.notes("momentum.ended")[0]["reason"] == "idle for 5 s"
    assert rig.node.claims.own() == [] and not rig.node.momentum.copies
    rig.tell(ev.Wanted("c"))
    assert [copy.instance for copy in rig.node.momentum.won("c")] == [2], "the next request elects again"


def test_requests_and_those_under_way_keep_it() -> None:
    rig = serving(record("c", idle_s=2))
    for n in range(6):
        sample(rig, requests=n)
    for _ in range(6):
        sample(rig, requests=5, in_flight=1)
    assert rig.node.momentum.serving("c")


@pytest.mark.parametrize(
    "what", [record("c", idle_s=0), record("c", idle_s=2, scale=Scale(min=1))], ids=["never", "must run"]
)
def test_some_are_never_idle(what: Record) -> None:
    rig = serving(what)
    for _ in range(100):
        sample(rig)
    assert rig.node.momentum.serving("c")


def test_a_copy_that_drains_already_is_left_alone() -> None:
    rig = serving(record("c", idle_s=2))
    rig.drains = False
    for _ in range(4):
        sample(rig)
    assert rig.node.momentum.won("c")[0].ending
    for _ in range(4):
        sample(rig)
        assert not rig.notes("momentum.idle")


def test_the_higher_the_slot_the_sooner_it_is_spare() -> None:
    what = record("c", scale=Scale(0, 4, 10))
    bounds = [spare_below(what, slot, 0.8) for slot in range(4)]
    assert bounds == [-1.0, 4.0, pytest.approx(16 / 3), 6.0] and bounds == sorted(bounds)
    assert spare_below(record("c", scale=Scale(2, 4, 10)), 1, 0.8) < 0, "it must run"
    assert spare_below(record("c", scale=Scale(0, 4, 0)), 3, 0.8) < 0, "nobody said what a copy can take"


def test_a_spare_copy_ends_after_its_time_and_one_that_was_full_stays() -> None:
    rig = serving(record("c", idle_s=0, scale=Scale(0, 4, 10)))
    (copy,) = rig.node.momentum.serving("c")
    copy.slot = 3  # as if three others ran elsewhere
    wait = int(Settings().scale_in_s)
    for _ in range(2 * wait):
        sample(rig, most=7)
    assert rig.node.momentum.serving("c"), "the others had no room for this"
    for _ in range(wait - 1):
        sample(rig, most=6)
    assert rig.node.momentum.serving("c")
    sample(rig, most=6)
    assert rig.notes("momentum.draining")[0]["reason"] == "fewer copies are enough"


def test_what_was_seen_of_a_copy_goes_with_it() -> None:
    rig = serving(record("c"))
    sample(rig)
    assert rig.node.idling._seen
    rig.tell(ev.Ended(1, "killed"))
    sample(rig)
    assert not rig.node.idling._seen
