"""The telling: what each step did, in the nodes' own names and times. Owns the words and the order.

On a terminal with colour (rich), elsewhere plain. It ends with 0, or with the step that did not happen; the
nodes are ended and their folder is removed in any case, unless they were asked to stay.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console

from falak.client.words import stage_text, told
from falak.demo import load, steps, trials
from falak.demo.mesh import LocalMesh
from falak.demo.signals import Signals
from falak.errors import USAGE, OperatorError

NODES_MAX: Final = 20
REQUESTS: Final = 200
TRIALS_MIN: Final = 4
"""With fewer nodes, too few are left after two were killed."""


class Teller:
    """Prints steps and lines; the clock of the whole story."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self._console = Console(highlight=False, soft_wrap=True)
        self._step = 0

    def step(self, title: str) -> None:
        """A heading."""
        self._step += 1
        self._console.print()
        self._console.print(f"{self._step}. {title}", style="bold cyan", markup=False)

    def line(self, text: str, style: str = "") -> None:
        """One line under it."""
        self._console.print(f"   {text}" if text else "", style=style, markup=False)


def run(count: int, keep: bool) -> int:
    """The whole demo with ``count`` nodes. Returns 0; raises ``OperatorError`` with the step that failed."""
    if not 1 <= count <= NODES_MAX:
        raise OperatorError(f"--nodes {count}: 1 to {NODES_MAX} fit on one machine", "five tell it best", USAGE)
    teller = Teller()
    with Signals() as signals:
        mesh = LocalMesh(signals)
        stays = False
        try:
            _tell(teller, mesh, count)
            if count >= TRIALS_MIN and not keep:
                _try(teller, mesh)
            if keep:
                mesh.stay()
            stays = keep
        finally:
            if not stays:
                with signals.ignored():
                    _clean_up(teller, mesh)
    if keep:
        _what_next(teller, mesh)
    return 0


def _tell(teller: Teller, mesh: LocalMesh, count: int) -> None:
    teller.line("A mesh without a master, on this machine: real processes, real sockets, their own times.")
    many = f"{count} nodes start and join" if count > 1 else "1 node starts"
    with _step(teller, f"{many}: falak up"):
        settled_ms = steps.start(mesh, count)
        for node in mesh.nodes:
            joined = "" if node is mesh.nodes[0] else ", joined by n1's ticket"
            teller.line(f"{node.name:<3} serves after {node.ready_ms:4.0f} ms on http://{node.http}{joined}")
        if count > 1:
            teller.line(f"each sees all {count}, {settled_ms:.0f} ms after the last start")
    asked = mesh.nodes[1 % count]
    with _step(teller, "n1 publishes a capsule, cold: falak launch examples/hello --no-call"):
        _publish(teller, mesh)
    with _step(teller, f"A first request, at {asked.name}: nobody runs the capsule, so the nodes elect one"):
        first = steps.first_request(asked)
        _first(teller, first)
    with _step(teller, f"A second request, at {asked.name}: a copy runs, so nothing is decided"):
        second = steps.warm_request(asked, first)
        teller.line(f"{second.body.strip()!r} after {second.ms:.1f} ms, without an election", "green")
    with _step(teller, f"{REQUESTS} requests through {f'all {count} nodes' if count > 1 else 'it'}"):
        _many(teller, mesh)


def _try(teller: Teller, mesh: LocalMesh) -> None:
    with _step(
        teller, "The node that runs it is killed (SIGKILL), while 100 requests a second come in elsewhere"
    ):
        killed = trials.kill_holder(mesh)
        teller.line(
            f"{killed.name} is dead; {killed.by} runs it now, its first answer {killed.next_ms:.0f} ms after the kill",
            "green",
        )
        teller.line(
            f"all {killed.requests} requests were answered; {killed.waited} of them waited, "
            f"{killed.longest_ms:.0f} ms at most"
        )
    with _step(teller, f"Nobody asks for {steps.IDLE}: the copy ends, and comes back for the next request"):
        slept = trials.sleep_and_wake(mesh)
        teller.line(f"gone after {slept.after_s:.1f} s: nothing runs, and nothing is paid for")
        teller.line(f"{slept.reply.body.strip()!r} after {slept.reply.ms:.1f} ms, from {slept.by}", "green")
    fate = "is killed too" if mesh.nodes[0] in trials.living(mesh) else "was the one that was killed"
    with _step(teller, f"n1, which published the capsule, {fate}: nobody owns a capsule"):
        at, reply = trials.kill_publisher(mesh)
        teller.line(f"{reply.body.strip()!r} after {reply.ms:.1f} ms at {at.name}", "green")


@contextmanager
def _step(teller: Teller, title: str) -> Iterator[None]:
    teller.step(title)
    try:
        yield
    except OperatorError as error:
        raise OperatorError(f"this did not happen: {title}\n{error.what}", error.hint, error.exit) from error


def _publish(teller: Teller, mesh: LocalMesh) -> None:
    published = steps.publish(mesh, mesh.nodes[0])
    for stage in published.stages:
        teller.line(stage_text(stage))
    everywhere = f"{published.ready_everywhere_ms:.0f} ms"
    ready = f"{published.ready_at} nodes" if published.ready_at > 1 else "the node"
    teller.line(f"compiled at {ready} after {everywhere}, running at none")


def _first(teller: Teller, first: steps.FirstRequest) -> None:
    winner, parked = first.first("election.won"), first.first("request.parked")
    for event, text in zip(first.events, told(first.events, terms=False), strict=True):
        teller.line(text, "green" if event is winner else "")
    called, started = first.first("election.called"), first.first("momentum.started")
    phases = {
        "directory": (called["at"] - parked["at"]) * 1000,
        "election": (winner["at"] - called["at"]) * 1000,
        "load": started["load_ms"],
        "first byte": first.first("request.answered")["total_ms"],
    }
    teller.line("")
    teller.line(",  ".join(f"{phase} {took:.1f} ms" for phase, took in phases.items()))
    teller.line(f"{first.reply.body.strip()!r} after {first.reply.ms:.1f} ms at the client", "green")


def _many(teller: Teller, mesh: LocalMesh) -> None:
    targets = [(node.name, node.http) for node in mesh.nodes]
    result = load.run(targets, steps.HOST, "/many", REQUESTS)
    for name, times in result.by_node.items():
        median = sorted(times)[len(times) // 2] if times else 0.0
        teller.line(f"{name:<3} {len(times):3} answered, p50 {median:.1f} ms")
    p50, p99 = result.percentile_ms(0.5), result.percentile_ms(0.99)
    speed = f"{result.rate:.0f} a second, p50 {p50:.1f} ms, p99 {p99:.1f} ms, {len(result.errors)} errors"
    teller.line(f"{speed}; running at {' '.join(steps.copies(mesh.nodes[0]))}", "green")
    if result.errors or result.answered != REQUESTS:
        raise OperatorError(
            f"{result.answered} of {REQUESTS} requests were answered", "\n".join(result.errors[:5])
        )


def _clean_up(teller: Teller, mesh: LocalMesh) -> None:
    count = len(trials.living(mesh))
    outcome = mesh.stop()
    teller.line("")
    killed = f", {len(outcome.killed)} had to be killed: {' '.join(outcome.killed)}" if outcome.killed else ""
    gone = "its folder is removed" if not mesh.folder.exists() else f"{mesh.folder} could not be removed"
    teller.line(
        f"{outcome.ended} of {count} {'nodes' if count > 1 else 'node'} ended when asked to{killed}; {gone}"
    )
    teller.line(f"All of it took {time.monotonic() - teller.began:.1f} s.")


def _what_next(teller: Teller, mesh: LocalMesh) -> None:
    first, last = mesh.nodes[0], mesh.nodes[-1]
    pids = " ".join(str(node.process.pid) for node in mesh.nodes)
    teller.step("The mesh stays. Type next:")
    for line in (
        f"export FALAK_DATA={first.folder} PATH={Path(sys.executable).parent}:$PATH",
        "falak nodes",
        "falak ps",
        "falak why hello -v",
        "falak events --follow",
        f"curl -H 'Host: {steps.HOST}' http://{last.http}/",
        f"kill {last.process.pid}                  # {last.name} says goodbye; ask again",
        "",
        f"kill {pids}; rm -r {mesh.folder}    # to stop it all",
    ):
        teller.line(line)
