"""Scenarios over the real core with their whole trace as text, after etcd-io/raft's interaction tests.

A file tells one story: comments, then blocks of a command, ``----`` and all that happens (``falak.sim.trace``
says how to read it; heartbeats and pings are left out). Every message takes 0.35 ms, so the times are round.
``pytest tests/transcripts --rewrite`` writes what happens now; read the diff before you believe it.

    mesh N                        nodes n1 to nN, joined through n1
    start NODE [through NODE]     one more node
    publish NODE CAPSULE          launch it and wait until it is published
    ask NODE CAPSULE              a request, waited for
    send NODE CAPSULE             a request, not waited for
    run MS                        let time pass
    part A B                      these two lose each other
    crash NODE, restart NODE [through NODE], cut A B / C D, heal
    fault NODE CAPSULE WHY        copies fail to start there
    busy NODE                     its machine is loaded and has told the others
    electors CAPSULE              who they are, the first one first
    quietly COMMAND               the same without its trace
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from falak.core import events as ev
from falak.sim.gateway import Request
from falak.sim.host import StartFault
from falak.sim.network import CALM
from falak.sim.trace import Trace
from falak.sim.world import World

FOLDER = Path(__file__).parent
BAR = "----"


class Stage:
    """The world of one story. A command is a method; what it returns is said after its trace."""

    def __init__(self) -> None:
        self.world = World(1, CALM)
        self.trace = Trace(self.world)
        self.requests: list[Request] = []

    def do(self, line: str) -> list[str]:
        """Carry out a command; the lines of what happened."""
        command, *words = line.split()
        if command == "quietly":
            self.do(" ".join(words))
            return []
        self.trace.start()
        run: Callable[..., str | None] = getattr(self, command)
        said = run(*words)
        lines = self.trace.take()
        return lines + ([said] if said else [])

    def mesh(self, count: str) -> None:
        self.world.mesh(int(count))
        self.world.run(0.01)

    def start(self, name: str, _: str = "", through: str = "") -> None:
        self.world.add(name, join=through)
        self.world.run(0.02)

    def publish(self, node: str, name: str) -> None:
        self.world.launch(node, name)
        self.world.run(0.1)

    def send(self, node: str, name: str) -> None:
        self.requests.append(self.world.request(node, f"{name}.localhost"))

    def ask(self, node: str, name: str) -> str:
        request = self.world.ask(node, name)
        self.world.run(0.01)
        return said(request)

    def run(self, ms: str) -> str:
        self.world.run(float(ms) / 1000)
        ended = [request for request in self.requests if request.outcome]
        self.requests = [request for request in self.requests if not request.outcome]
        return "\n".join(map(said, ended))

    def part(self, one: str, other: str) -> None:
        self.world.part(one, other)

    def crash(self, node: str) -> None:
        self.world.crash(node)
        self.world.run(0.005)

    def restart(self, node: str, _: str = "", through: str = "") -> None:
        self.world.restart(node, through)
        self.world.run(0.02)

    def cut(self, *words: str) -> None:
        at = words.index("/")
        self.world.cut([list(words[:at]), list(words[at + 1 :])])

    def heal(self) -> None:
        self.world.heal()

    def fault(self, node: str, name: str, *why: str) -> None:
        self.world.hosts[node].faults[name] = StartFault(" ".join(why))

    def busy(self, node: str) -> None:
        host = self.world.hosts[node]
        host.capacity = replace(host.capacity, load_millis=3900)
        host.step(ev.Sampled(host.capacity))
        self.world.run(3.0)

    def electors(self, name: str) -> str:
        node = self.world.hosts["n1"].node
        return " ".join(map(node.members.name_of, node.orbits.electors_of(name)))


def said(request: Request) -> str:
    took = (request.ended_at - request.began_at) * 1000
    return f"request {request.number} at {request.at}: {request.status}, {request.outcome}, after {took:.2f} ms"


def played(text: str) -> str:
    """The story as it goes now."""
    stage, lines = Stage(), list[str]()
    blocks = text.split("\n\n")
    for block in blocks:
        told = block.strip("\n").splitlines()
        until = told.index(BAR) if BAR in told else len(told)
        head = told[:until]
        lines += head
        commands = [line for line in head if line and not line.startswith("#")]
        if commands:
            lines.append(BAR)
            for command in commands:
                lines += stage.do(command)
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.stem)
def test_the_story_goes_as_written(path: Path, request: pytest.FixtureRequest) -> None:
    told = path.read_text()
    now = played(told)
    if request.config.getoption("--rewrite"):
        path.write_text(now)
    assert now == path.read_text(), "if this is what should happen: pytest tests/transcripts --rewrite"


def test_there_is_a_story_for_everything_the_protocol_does() -> None:
    names = {path.stem for path in FOLDER.glob("*.txt")}
    assert names >= {
        "join", "publish", "cold_election", "warm_elsewhere", "refused_candidate", "dead_convener",
        "two_callers", "mesh_of_one", "mesh_of_two", "lost_link",
    }  # fmt: skip
