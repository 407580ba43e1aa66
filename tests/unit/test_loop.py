"""The driver: one event one step, effects in order, what they yield after them, a tick when it is owed."""

import asyncio
import logging
import time
from typing import Any

import pytest

pytest.importorskip("falak._native", reason="the extension is not built: `make build`")

from falak.core import effects as ef
from falak.core import events as ev
from falak.core.suspicion import STALL_S as STALL_TOLD_S
from falak.daemon.loop import PULSE_S, Loop
from falak.daemon.sampling import Sampler, cpu_millis
from falak.seam import Events


class Script:
    """A core that answers events from a script and notes what it was told, and when."""

    def __init__(self, answers: dict[type, list[ef.Effect]] | None = None) -> None:
        self.answers = answers or {}
        self.told: list[ev.Event] = []
        self.at: list[float] = []
        self.due: float | None = None
        self.turn = self
        self.effects: list[ef.Effect] = []

    def step(self, event: ev.Event, now: float) -> list[ef.Effect]:
        self.told.append(event)
        self.at.append(now)
        if isinstance(event, ev.Tick):
            self.due = None
        self.effects = self.answers.get(type(event), [])
        if isinstance(event, ev.Leave):
            raise RuntimeError("tripped")
        return self.effects

    def next_deadline(self) -> float | None:
        return self.due


def driven(node: Script, scene: Any, perform: Any = lambda effect: None) -> Loop:
    async def run() -> Loop:
        loop = Loop(node, Events(capacity=8), lambda row: None)  # type: ignore[arg-type]
        loop.start(perform, lambda told: None)
        await scene(loop)
        loop.stop()
        return loop

    return asyncio.run(run())


def test_what_an_effect_yields_is_stepped_after_the_effects_of_its_step() -> None:
    first, second = ef.Persist("a", b"1"), ef.Persist("b", b"2")
    node = Script({ev.Wanted: [first, second]})
    performed: list[str] = []

    def perform(effect: ef.Persist) -> ev.Event:
        performed.append(f"{effect.key} after {len(node.told)} steps")
        return ev.Persisted(effect.key)

    async def scene(loop: Loop) -> None:
        loop.tell(ev.Wanted("x"))

    driven(node, scene, perform)
    assert performed == ["a after 1 steps", "b after 1 steps"]
    assert node.told == [ev.Wanted("x"), ev.Persisted("a"), ev.Persisted("b")]


def test_a_tick_comes_when_it_is_due_and_not_before() -> None:
    node = Script()

    async def scene(loop: Loop) -> None:
        node.due = time.monotonic() + 0.0504
        loop.tell(ev.Forgone("x"))
        early = node.due
        node.due = time.monotonic() + 0.0104
        loop.tell(ev.Forgone("y"))
        assert node.due < early
        due = node.due
        async with asyncio.timeout(5):
            while len(node.told) < 3:
                await asyncio.sleep(0.001)
        assert node.told[2] == ev.Tick()
        assert node.at[2] >= due

    driven(node, scene)


def test_a_deadline_that_moves_away_costs_a_look_and_no_tick() -> None:
    node = Script()

    async def scene(loop: Loop) -> None:
        node.due = time.monotonic() + 0.01
        loop.tell(ev.Forgone("x"))
        node.due = time.monotonic() + 0.05
        loop.tell(ev.Forgone("y"))
        due = node.due
        async with asyncio.timeout(5):
            while len(node.told) < 3:
                await asyncio.sleep(0.001)
        assert node.at[2] >= due

    assert driven(node, scene).counters["ticks"] == 1


def test_a_bug_is_logged_and_counted_and_the_next_event_seen_to(caplog: pytest.LogCaptureFixture) -> None:
    node = Script(
        {ev.Leave: [ef.Persist("before", b"1")], ev.Wanted: [ef.Retry("x"), ef.Persist("after", b"1")]}
    )
    performed: list[str] = []

    def perform(effect: ef.Effect) -> None:
        if isinstance(effect, ef.Retry):
            raise KeyError("tripped too")
        assert isinstance(effect, ef.Persist)
        performed.append(effect.key)

    async def scene(loop: Loop) -> None:
        loop.tell(ev.Leave())
        loop.tell(ev.Wanted("x"))

    with caplog.at_level(logging.ERROR):
        assert driven(node, scene, perform).counters["errors"] == 2
    assert performed == ["before", "after"]
    assert [record.message for record in caplog.records] == ["the core failed on an event", "an effect failed"]


def test_a_stall_is_measured() -> None:
    async def scene(loop: Loop) -> None:
        until = time.monotonic() + PULSE_S + 0.25
        while time.monotonic() < until:
            pass
        await asyncio.sleep(0.01)

    counters = driven(Script(), scene).counters
    assert counters["stalls"] == 1 and 200 <= counters["stall_max_ms"] < 5000


def test_samples_are_of_this_machine() -> None:
    sampler = Sampler()
    capacity = sampler.sample()
    assert capacity.cpu_millis == cpu_millis() > 0
    assert capacity.memory_bytes >= capacity.free_memory_bytes > 0
    assert 0 <= capacity.load_millis <= capacity.cpu_millis


def test_a_long_stall_is_told_once_and_before_what_came_meanwhile() -> None:
    node = Script()

    async def scene(loop: Loop) -> None:
        until = time.monotonic() + PULSE_S + STALL_TOLD_S + 0.1
        while time.monotonic() < until:
            pass
        loop.tell(ev.Wanted("x"))
        loop.tell(ev.Wanted("y"))
        await asyncio.sleep(0.01)

    driven(node, scene)
    stalled, *others = node.told[:3]
    assert isinstance(stalled, ev.Stalled) and stalled.seconds > STALL_TOLD_S
    assert others == [ev.Wanted("x"), ev.Wanted("y")]
    assert sum(isinstance(event, ev.Stalled) for event in node.told) == 1


def test_a_long_stall_in_which_nothing_came_is_told_by_the_pulse() -> None:
    node = Script()

    async def scene(loop: Loop) -> None:
        until = time.monotonic() + PULSE_S + STALL_TOLD_S + 0.1
        while time.monotonic() < until:
            pass
        await asyncio.sleep(0.01)

    driven(node, scene)
    assert [type(event) for event in node.told] == [ev.Stalled, ev.Tick]
