"""Five real nodes in bad weather, and what an onlooker found. ``storm`` is the whole of it; tests and the soak
judge the ``Found``.

Violations are told as lines: a request without an answer or without a reason, views that differ ten seconds after
the last act, more copies than a capsule may have, nodes that grew, processes that ended badly or were left behind.
"""

import heapq
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from falak.errors import OperatorError
from tests.asking import launch
from tests.chaos.recorder import ANSWER_S, Asked, Recorder, weight
from tests.chaos.weather import Act, schedule
from tests.nodes import Mesh, Running

NODES: Final = 5
CAPSULES: Final = [f"chaos{number}" for number in range(6)]
CLIENTS: Final = 4
TICK_S: Final = 0.02
AGREED_S: Final = 10.0
"""After the last act all nodes must tell the same within this time."""
READY_S: Final = 30.0
RSS_MAX_BYTES: Final = 120_000_000
DESCRIPTORS_MAX: Final = 400
TOLD_MAX: Final = 10
"""Violations of one kind that are told."""


@dataclass
class Found:
    """What one storm came to."""

    seed: int
    acts: list[Act]
    asked: list[Asked] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    launches: Counter[str] = field(default_factory=Counter)
    agreed_s: float = 0.0
    heaviest: tuple[int, int] = (0, 0)

    def summary(self) -> str:
        """For people: what was done, what was asked, what was found."""
        times = sorted(one.ended_s - one.began_s for one in self.asked)
        p50, p99 = (times[int(len(times) * share)] * 1000 for share in (0.5, 0.99)) if times else (0.0, 0.0)
        rss, descriptors = self.heaviest
        return "\n".join(
            [
                f"seed {self.seed}: {len(self.acts)} acts {dict(Counter(act.what for act in self.acts))}",
                f"{len(self.asked)} requests: {dict(Counter(one.status for one in self.asked))}, "
                f"p50 {p50:.1f} ms, p99 {p99:.0f} ms, longest {max(times, default=0.0):.1f} s",
                f"launches {dict(self.launches)}; views agreed after {self.agreed_s:.1f} s; "
                f"heaviest node {rss / 1e6:.0f} MB, {descriptors} descriptors",
                *(self.violations or ["no violation"]),
            ]
        )


class Storm:
    """One storm over the nodes of a mesh."""

    def __init__(self, mesh: Mesh, seed: int, seconds: float) -> None:
        self._mesh, self._seconds = mesh, seconds
        self.found = Found(seed, schedule(seed, NODES, seconds))
        self._nodes: list[Running] = []
        self._starting: list[int] = []
        self._recorder = Recorder(CAPSULES, CLIENTS, seed)
        self._todo: list[tuple[float, int, Callable[[], None]]] = []
        self._generation = 0
        self._places: list[str] = []

    def run(self) -> Found:
        """Grow, blow, calm down, look."""
        self._nodes = self._mesh.grow(NODES)
        self._places = [node.ready["addresses"][0].partition("/p2p/")[0] for node in self._nodes]
        for name in CAPSULES:
            launch(self._nodes[0], name)
        for node in self._nodes:
            self._recorder.serves(node)
        self._recorder.start()
        with ThreadPoolExecutor(1) as pool:
            self._blow(pool)
        self._calm_down()
        self._agree()
        self.found.asked = self._recorder.stop()
        self._judge_answers()
        self._weigh()
        return self.found

    # --- acts --------------------------------------------------------------------------------------------

    def _blow(self, pool: ThreadPoolExecutor) -> None:
        began = time.monotonic()
        for number, act in enumerate(self.found.acts):
            heapq.heappush(self._todo, (began + act.at_s, number, self._doing(act, pool)))
            if act.for_s:
                undone = began + act.at_s + act.for_s
                heapq.heappush(self._todo, (undone, number, self._undoing(act)))
        while self._todo or time.monotonic() < began + self._seconds:
            while self._todo and self._todo[0][0] <= time.monotonic():
                heapq.heappop(self._todo)[2]()
            self._look_for_started()
            time.sleep(TICK_S)

    def _doing(self, act: Act, pool: ThreadPoolExecutor) -> Callable[[], None]:
        def do() -> None:
            node = self._nodes[act.node]
            if act.what == "launch":
                pool.submit(self._launch, node)
                return
            self._recorder.hurts(node)
            if act.what == "stop":
                node.process.send_signal(signal.SIGSTOP)
                return
            node.end(signal.SIGTERM if act.what == "end" else signal.SIGKILL)
            if act.what == "lose":
                shutil.rmtree(node.data)

        return do

    def _undoing(self, act: Act) -> Callable[[], None]:
        def undo() -> None:
            node = self._nodes[act.node]
            if act.what == "stop":
                node.process.send_signal(signal.SIGCONT)
                self._recorder.serves(node)
                return
            alive = [n for n in self._nodes if n is not node and n.ready and n.process.poll() is None]
            join = [word for n in alive for word in ("--join", n.ticket)] if act.what == "lose" else []
            place = self._places[act.node]  # a node is found where it was, as an operator's would be
            self._nodes[act.node] = self._mesh.start(node.name, "--listen", place, *join, data=node.data)
            self._starting.append(act.node)

        return undo

    def _look_for_started(self) -> None:
        for at in list(self._starting):
            if self._nodes[at].serves():
                self._starting.remove(at)
                self._recorder.serves(self._nodes[at])

    def _launch(self, node: Running) -> None:
        self._generation += 1
        name = CAPSULES[self._generation % len(CAPSULES)]
        try:
            launch(node, name, env={"GENERATION": str(self._generation)})
            self.found.launches["kept"] += 1
        except (OperatorError, OSError) as error:  # its node may be hurt meanwhile
            self.found.launches[str(error)[:80]] += 1

    # --- afterwards --------------------------------------------------------------------------------------

    def _calm_down(self) -> None:
        ends = time.monotonic() + READY_S
        while self._starting and time.monotonic() < ends:
            self._look_for_started()
            time.sleep(TICK_S)
        for at in self._starting:
            self._tell("start", [f"{self._nodes[at].name} does not serve after {READY_S:g} s"])

    def _agree(self) -> None:
        """Wait until all views are one; tell the differences if they are not in time."""
        began = time.monotonic()
        while True:
            views = {node.name: view(node) for node in self._nodes}
            copies = copies_of(self._nodes[0])
            wrong = [f"{name} runs {count} times" for name, count in copies.items() if count > 1]
            wrong += differences(views)
            self.found.agreed_s = time.monotonic() - began
            if not wrong or self.found.agreed_s > AGREED_S:
                self._tell("view", wrong)
                return
            time.sleep(0.2)

    def _judge_answers(self) -> None:
        asked = self.found.asked
        self._tell("request", [str(one) for one in asked if one.status not in (200, 503)])
        unexplained = [one for one in asked if one.status == 503 and (not one.text or "(no R" in one.text)]
        self._tell("refusal without a reason", [str(one) for one in unexplained])
        self._tell("late", [str(one) for one in asked if one.ended_s - one.began_s > ANSWER_S])

    def _weigh(self) -> None:
        weights = {node.name: weight(node.process.pid) for node in self._nodes if node.process.poll() is None}
        self.found.heaviest = max(weights.values(), default=(0, 0))
        heavy = [
            f"{name}: {rss / 1e6:.0f} MB, {descriptors} descriptors"
            for name, (rss, descriptors) in weights.items()
            if rss > RSS_MAX_BYTES or descriptors > DESCRIPTORS_MAX
        ]
        self._tell("heavy", heavy)

    def _tell(self, kind: str, lines: list[str]) -> None:
        more = [f"{kind}: and {len(lines) - TOLD_MAX} more"] if len(lines) > TOLD_MAX else []
        self.found.violations += [f"{kind}: {line}" for line in lines[:TOLD_MAX]] + more


def view(node: Running) -> dict[str, Any]:
    """What a node tells of the mesh, without what is its own."""
    return {
        "members": sorted(
            (row["name"], row["state"]) for row in node.client.nodes() if row["state"] == "alive"
        ),
        "capsules": sorted((row["name"], row["generation"]) for row in node.client.capsules()),
    }


def copies_of(node: Running) -> Counter[str]:
    """Running copies in the whole mesh, by capsule."""
    return Counter(row["capsule"] for row in node.client.ps(5.0)["rows"] if row["state"] == "active")


def differences(views: dict[str, dict[str, Any]]) -> list[str]:
    """How views differ from the first one's, and from a whole mesh."""
    first, *others = views
    wrong = [
        f"{first} and {other} differ in {what}: {views[first][what]} / {views[other][what]}"
        for other in others
        for what in views[first]
        if views[first][what] != views[other][what]
    ]
    if len(views[first]["members"]) != NODES:
        wrong.append(f"{first} sees {views[first]['members']}")
    return wrong


def storm(folder: Path, seed: int, seconds: float) -> Found:
    """Five nodes in ``folder``, their weather, and their end."""
    mesh = Mesh(folder)
    storm_ = Storm(mesh, seed, seconds)
    try:
        found = storm_.run()
    finally:
        wrong = mesh.end()
    found.violations += [f"end: {line}" for line in wrong]
    return found
