"""Real nodes whose copies rest, move and come back: idle, drained, replaced, and no accepted request lost by it.

``Load`` asks for one capsule at some nodes, again and again, and keeps what came of every request.
"""

import signal
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from tests.asking import PROBE, copies, events_of, falak, get, known, launch
from tests.nodes import Mesh, Running, until

PAUSE_S = 0.01
"""Between two requests of one asker: about 100 a second from each."""


class Load:
    """``with Load(nodes, name) as load``: one asker a node until the block ends. ``answers`` is (when it ended,
    status, text, how long it took), in order; seconds, monotonic."""

    def __init__(self, nodes: list[Running], name: str, pause_s: float = PAUSE_S) -> None:
        self._nodes, self._name, self._pause_s = nodes, name, pause_s
        self._stop = Event()
        self.answers: list[tuple[float, int, str, float]] = []

    def __enter__(self) -> "Load":
        self._pool = ThreadPoolExecutor(len(self._nodes))
        self._tasks = [self._pool.submit(self._ask, node) for node in self._nodes]
        until(lambda: len(self.answers) >= 10 * len(self._nodes), "load is on")
        return self

    def _ask(self, node: Running) -> None:
        while not self._stop.wait(self._pause_s):
            began = time.monotonic()
            answer = get(node, self._name, within_s=12.0)
            ended = time.monotonic()
            self.answers.append((ended, answer.status, answer.text, ended - began))

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._pool.shutdown()
        self.answers.sort()
        for task in self._tasks:
            if not error[0]:
                task.result()

    def lost(self) -> list[tuple[float, int, str, float]]:
        return [answer for answer in self.answers if answer[1] != 200]

    def next_after(self, at_s: float) -> float:
        """Seconds from a time to the end of the first request that was answered after it and began before or
        after it."""
        return next(ended for ended, status, _, _ in self.answers if status == 200 and ended > at_s) - at_s


def holder_of(nodes: list[Running], name: str) -> Running:
    """Who runs the one copy of a capsule, among the nodes that run (those just killed do not answer)."""
    asked = next(node for node in nodes if node.process.poll() is None)

    def one() -> str:
        rows = [row for row in asked.client.ps(5.0)["rows"] if row["capsule"] == name]
        return str(rows[0]["node"]) if len(rows) == 1 else ""

    found = until(one, f"one copy of {name} runs")
    return next(node for node in nodes if node.name == found)


def test_a_copy_that_gets_no_request_ends_and_the_next_request_starts_one(mesh: Mesh) -> None:
    nodes = mesh.grow(3)
    launch(nodes[0], "sleepy", call=True, idle="1s")
    launch(nodes[0], "wakeful", call=True, idle="never")
    known(nodes, "sleepy")
    until(lambda: not copies(nodes[0], "sleepy"), "it is idle")
    assert copies(nodes[0], "wakeful")
    until(lambda: events_of(nodes[0], "sleepy", "momentum.ended"), "its end is told")
    kinds = [e["event"] for e in events_of(nodes[0], "sleepy") if e["event"].startswith("momentum.")]
    assert kinds[:4] == ["momentum.started", "momentum.idle", "momentum.draining", "momentum.ended"]
    for node in nodes:
        assert get(node, "sleepy").status == 200
    assert len(copies(nodes[0], "sleepy")) == 1


def test_a_copy_that_is_asked_elsewhere_is_not_idle(mesh: Mesh) -> None:
    nodes = mesh.grow(3)
    launch(nodes[0], "busy", call=True, idle="1s")
    holder = holder_of(nodes, "busy")
    other = next(node for node in nodes if node is not holder)
    ends_at = time.monotonic() + 3.0
    with Load([other], "busy", pause_s=0.3) as load:
        until(lambda: time.monotonic() > ends_at, "three times its idle time is over")
    assert not load.lost()
    assert not events_of(nodes[0], "busy", "momentum.idle")


@pytest.mark.parametrize("how", ["SIGTERM", "leave"])
def test_a_holder_that_leaves_under_load_loses_no_request(mesh: Mesh, how: str) -> None:
    nodes = mesh.grow(5)
    launch(nodes[0], "held", call=True)
    known(nodes, "held")
    victim = holder_of(nodes, "held")
    askers = [node for node in nodes if node is not victim][:3]
    with Load(askers, "held") as load:
        if how == "SIGTERM":
            assert victim.end(signal.SIGTERM) == 0
        else:
            assert falak(victim, "leave") == f"{victim.name} left\n"
            assert victim.wait() == 0
        until(lambda: copies(askers[0], "held"), "it runs elsewhere")
    assert not load.lost()
    told = [e["event"] for e in events_of(askers[0], "held", "momentum.failed")]
    assert not told


def test_a_drained_node_runs_nothing_and_stays(mesh: Mesh) -> None:
    nodes = mesh.grow(3)
    launch(nodes[0], "held", call=True)
    known(nodes, "held")
    victim = holder_of(nodes, "held")
    asker = next(node for node in nodes if node is not victim)
    with Load([asker, victim], "held") as load:
        assert falak(asker, "drain", victim.name) == f"{victim.name} is drained: 1 copies ended\n"
        until(lambda: copies(asker, "held"), "it runs elsewhere")
        assert holder_of(nodes, "held") is not victim
    assert not load.lost()
    rows = {row["name"]: row for row in victim.client.nodes()}
    assert rows[victim.name]["draining"] and rows[victim.name]["state"] == "alive"
    for node in nodes:
        if node is not victim:
            falak(victim, "drain", node.name)
    refused = get(asker, "held")
    assert refused.status == 503 and "it is draining" in refused.text
    assert falak(asker, "drain", victim.name, "--undo") == f"{victim.name} takes copies again\n"
    assert get(asker, "held").status == 200 and holder_of(nodes, "held") is victim


def test_a_request_under_way_is_answered_before_its_copy_ends(mesh: Mesh) -> None:
    nodes = mesh.grow(3)
    launch(nodes[0], "slow", component=PROBE)
    known(nodes, "slow")
    assert get(nodes[0], "slow", "/hello").status == 200
    victim = holder_of(nodes, "slow")
    asker = next(node for node in nodes if node is not victim)
    with ThreadPoolExecutor(2) as pool:
        waits = [pool.submit(get, node, "slow", "/wait/1500") for node in (asker, victim)]
        until(lambda: [c for c in copies(asker, "slow") if c["in_flight"] >= 2], "both are under way")
        assert victim.end(signal.SIGTERM) == 0
        assert [wait.result().status for wait in waits] == [200, 200]


def test_a_newer_generation_takes_over_without_a_lost_request(mesh: Mesh) -> None:
    nodes = mesh.grow(5)
    launch(nodes[0], "rolled", call=True, version="1")
    known(nodes, "rolled")
    with Load(nodes, "rolled") as load:
        for version in ("2", "3"):
            done = launch(nodes[1], "rolled", call=True, version=version)
            assert done["answered"]["status"] == 200
            until(lambda: [c["version"] for c in copies(nodes[0], "rolled")] == [version], "the older drained")  # noqa: B023
    assert not load.lost()
    assert not events_of(nodes[0], "rolled", "momentum.failed")


def test_what_must_run_runs_without_a_request_and_after_its_node_died(mesh: Mesh) -> None:
    nodes = mesh.grow(5)
    launch(nodes[0], "must", scale={"min": 2}, idle="1s")
    until(lambda: len(copies(nodes[0], "must")) == 2, "two run")
    first = copies(nodes[0], "must")
    assert [copy["slot"] for copy in first] == [0, 1] and first[0]["node"] != first[1]["node"]
    victim = next(node for node in nodes if node.name == first[1]["node"])
    others = [node for node in nodes if node is not victim]
    victim.end(signal.SIGKILL)
    ended = time.monotonic()

    def whole() -> bool:
        rows = [r for r in others[0].client.ps(0.2)["rows"] if r["capsule"] == "must"]
        return len(rows) == 2

    until(whole, "two run again")
    assert time.monotonic() - ended < 3.0


def test_one_more_is_started_where_all_have_enough_to_do_and_ends_again(mesh: Mesh) -> None:
    nodes = mesh.grow(3)
    launch(nodes[0], "wide", component=PROBE, scale={"max": 2, "concurrency": 2})
    known(nodes, "wide")
    with ThreadPoolExecutor(12) as pool:
        waits = [pool.submit(get, node, "wide", "/wait/700") for node in nodes for _ in range(4)]
        until(lambda: len(copies(nodes[0], "wide")) == 2, "a second one runs")
        waits += [pool.submit(get, node, "wide", "/wait/700") for node in nodes for _ in range(4)]
        assert {wait.result().status for wait in waits} == {200}
    assert sorted(copy["slot"] for copy in copies(nodes[0], "wide")) == [0, 1], "never more than max"
    assert [e for e in events_of(nodes[0], "wide", "election.wanted") if "enough to do" in e["reason"]]


def test_a_killed_holder_is_followed_at_once(mesh: Mesh) -> None:
    """Three kills; p50 of the time to the next answer. (The benchmark takes thirty.)"""
    nodes = mesh.grow(5)
    launch(nodes[0], "held", call=True)
    known(nodes, "held")
    gaps = []
    for _ in range(3):
        victim = holder_of(nodes, "held")
        alive = [node for node in nodes if node.process.poll() is None and node is not victim]
        if len(alive) < 2:
            break
        with Load(alive[:2], "held", pause_s=0.005) as load:
            at_s = time.monotonic()
            victim.end(signal.SIGKILL)
            until(lambda: [a for a in load.answers if a[0] > at_s + 0.3], "it goes on")  # noqa: B023
        assert not load.lost()
        gaps.append(max(took for ended, _, _, took in load.answers if at_s <= ended < at_s + 2.0))
    print("ms to the slowest answer across a kill:", [round(gap * 1000, 1) for gap in gaps])
    assert statistics.median(gaps) < 0.3


def test_a_silent_holder_is_followed(mesh: Mesh) -> None:
    nodes = mesh.grow(5)
    launch(nodes[0], "held", call=True)
    known(nodes, "held")
    victim = holder_of(nodes, "held")
    askers = [node for node in nodes if node is not victim][:2]
    with Load(askers, "held") as load:
        at_s = time.monotonic()
        victim.process.send_signal(signal.SIGSTOP)
        try:
            until(lambda: [a for a in load.answers if a[0] > at_s + 0.3 and a[1] == 200], "it goes on")
        finally:
            victim.process.send_signal(signal.SIGCONT)
    assert not load.lost()
    gap = max(took for ended, _, _, took in load.answers if ended >= at_s)
    print("ms to the slowest answer across a silence:", round(gap * 1000, 1))
    assert gap < 4.0

    def one_copy() -> bool:
        listing = nodes[0].client.ps(wait_s=5.0)  # the one that was silent may need a moment to answer
        return not listing["partial"] and [row["capsule"] for row in listing["rows"]] == ["held"]

    until(one_copy, "one of the two copies has given way")
