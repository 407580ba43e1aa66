"""The simulator itself: that it can fail, that it finds the shortest history, that it repeats itself."""

import random

import pytest

from falak.core import events as ev
from falak.core.claims import Claims
from falak.core.voting import Voting
from falak.sim.invariants import Broken
from falak.sim.network import CALM, Network, Weather
from falak.sim.scenario import ACTIONS, Action, Plan, draw, draw_moves, draw_orbits, play
from falak.sim.shrink import shrink, story, what_breaks
from falak.sim.trace import Trace
from falak.sim.world import World


def test_a_seed_is_one_history() -> None:
    lines = []
    for _ in range(2):
        traces: list[Trace] = []
        play(draw(3), lambda world, traces=traces: traces.append(Trace(world)))  # type: ignore[misc]
        lines.append(traces[0].lines)
    assert lines[0] == lines[1] and draw(3) == draw(3) != draw(4)


def test_every_action_is_drawn_and_harmless_where_it_does_not_apply() -> None:
    drawn = {a.what for draw_ in (draw_moves, draw_orbits) for seed in range(60) for a in draw_(seed).actions}
    assert drawn == set(ACTIONS)
    world = World(1, CALM)
    world.mesh(1)
    for what in ACTIONS:
        ACTIONS[what](world, Action(what, "n1", "c0", 0.01))


def test_a_broken_core_is_found_and_its_shortest_history_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Electors that forget to say that they ended a claim: requests go to where nothing runs."""
    monkeypatch.setattr(Claims, "release", lambda self, *args, **named: None)
    plan = Plan(
        1, 3, CALM,
        (
            Action("launch", "n1", "c0"), Action("request", "n2", "c0"), Action("wait", seconds=0.5),
            Action("request", "n3", "c0"), Action("pause", "n3", seconds=0.01), Action("kill", "", "c0"),
            Action("wait", seconds=0.1), Action("request", "n3", "c0"), Action("wait", seconds=0.1),
        ),
    )  # fmt: skip
    assert "claims" in what_breaks(plan)
    shortest = shrink(plan)
    assert len(shortest.actions) < len(plan.actions)
    told = story(plan)
    assert "kill c0" in told and "seed 1: " in told and "Broken" in told and "momentum.failed" in told


def test_voters_without_memory_are_found() -> None:
    """An elector that acks everybody: two holders, sooner or later."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Voting, "_may_move", lambda self, *args: True)
        patch.setattr(Claims, "_tell_lesser", lambda self, *args: None)
        assert any(what_breaks(draw(seed)) for seed in range(40))


def test_what_holds_is_left_as_it_is() -> None:
    plan = draw(2)
    assert shrink(plan) == plan


def test_an_invariant_names_seed_time_and_host() -> None:
    world = World(42, CALM)
    world.mesh(2)
    world.launch("n1", "hello")
    world.ask("n1", "hello")
    holder = next(h for h in world.hosts.values() if h.instances)
    holder.stopped[next(iter(holder.instances))] = None
    with pytest.raises(Broken, match=rf"seed 42, t=\d+\.\d+, {holder.name}: requests for hello go to a copy"):
        holder.step(ev.Tick())


def test_weather_does_what_it_says() -> None:
    calm = Network(CALM, random.Random(1))
    assert calm.one_way_s() == calm.one_way_s() == pytest.approx(0.00035)
    foul = Network(Weather(loss=0.5, duplicate=0.5, tear=0.5, retransmit=0.5), random.Random(1))
    assert {foul.copies() for _ in range(100)} == {0, 1, 2}
    assert 20 < sum(foul.tears() for _ in range(100)) < 80
    assert max(foul.one_way_s() for _ in range(100)) > 0.2
    foul.split([["a"], ["b"]])
    assert not foul.connected("a", "b") and foul.connected("a", "c") and foul.connected("a", "a")
    foul.heal()
    assert foul.connected("a", "b")
