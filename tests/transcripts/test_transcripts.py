"""Scenarios over the real core with their whole trace as text, after etcd-io/raft's interaction tests.

A file tells one story: comments, then blocks of a command, ``----`` and all that happens (``falak.sim.trace``
says how to read it; heartbeats and pings are left out). Every message takes 0.35 ms, so the times are round.
``pytest tests/transcripts --rewrite`` writes what happens now; read the diff before you believe it.

    mesh N                        nodes n1 to nN, joined through n1
    start NODE [through NODE]     one more node
    publish NODE CAPSULE [F=V]    launch it, with fields of its record, and wait until it is published
    withdraw NODE CAPSULE         take it out of its orbit, and wait until that is kept
    rollback NODE CAPSULE         the generation before the newest once more
    wipe NODE                     a node that is down loses its disk
    clock NODE SECONDS            its machine's clock is set wrong by so much
    records                       what each node that runs has: records, and tombstones
    ask NODE CAPSULE              a request, waited for
    send NODE CAPSULE             a request, not waited for
    run MS                        let time pass
    part A B                      these two lose each other
    pause NODE, resume NODE       its process stands still, and goes on
    leave NODE                    it says goodbye and ends
    replace NODE OLD              one more node, at the address of one that is down
    accuse BY NODE                what a liar would say: that the node's first incarnation is gone
    views                         whom each node that runs sees, and what it thinks of them
    seen COMMAND                  of its trace only what people may see
    scaled NODE CAPSULE MIN MAX CONCURRENCY, rests NODE CAPSULE IDLE-S    launch it so, as publish does
    kill NODE CAPSULE             its copy there ends behind the node's back
    drain NODE, undrain NODE      it runs nothing any more, and takes copies again
    crowd NODE CAPSULE            all the copies it sends requests to have enough to do
    load NODE N                   its copies have N requests at once from now on
    runs CAPSULE                  where its copies are, and which claims its first elector knows
    left                          what is still under way anywhere
    crash NODE, restart NODE [through NODE], cut A B / C D, heal
    fault NODE CAPSULE WHY, cure CAPSULE    copies fail to start there; and nowhere any more
    busy NODE                     its machine is loaded and has told the others
    electors CAPSULE              who they are, the first one first
    quietly COMMAND               the same without its trace
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.model import ALIVE, Scale, slot_key
from falak.sim.gateway import Request
from falak.sim.host import Host, StartFault
from falak.sim.invariants import nothing_is_left
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
        if command == "seen":
            return [line for line in self.do(" ".join(words)) if " ** " in line]
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

    def publish(self, node: str, name: str, *fields: str) -> None:
        read: dict[str, Callable[[str], object]] = {"version": str, "ttl_s": int, "keep": "yes".__eq__}
        said = (field.split("=") for field in fields)
        self.world.launch(node, name, **{key: read[key](value) for key, value in said})
        self.world.run(0.1)

    def withdraw(self, node: str, name: str) -> None:
        self.world.order(node, ev.Withdraw, name)
        self.world.run(0.1)

    def rollback(self, node: str, name: str) -> None:
        self.world.order(node, ev.Rollback, name)
        self.world.run(0.1)

    def wipe(self, node: str) -> None:
        self.world.hosts[node].wipe()

    def clock(self, node: str, seconds: str) -> None:
        self.world.hosts[node].set_clock(float(seconds))

    def records(self) -> str:
        return "\n".join(f"{h.name}: {orbiting(h)}" for h in self.world.hosts.values() if h.up)

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

    def scaled(self, node: str, name: str, least: str, most: str, concurrency: str) -> None:
        self.world.launch(node, name, scale=Scale(int(least), int(most), int(concurrency)), idle_s=0)
        self.world.run(1.5)

    def rests(self, node: str, name: str, idle_s: str) -> None:
        self.world.launch(node, name, idle_s=int(idle_s))
        self.world.run(0.1)

    def kill(self, node: str, name: str) -> None:
        host = self.world.hosts[node]
        host.kill(next(instance for instance, run in host.instances.items() if run == name))
        self.world.run(0.02)

    def drain(self, node: str) -> None:
        self.world.hosts[node].step(ev.Drain(True))
        self.world.run(0.05)

    def undrain(self, node: str) -> None:
        self.world.hosts[node].step(ev.Drain(False))
        self.world.run(0.05)

    def crowd(self, node: str, name: str) -> None:
        self.world.hosts[node].step(ev.Crowded(name))
        self.world.run(0.05)

    def load(self, node: str, at_once: str) -> None:
        self.world.hosts[node].at_once = int(at_once)

    def runs(self, name: str) -> str:
        up = [host for host in self.world.hosts.values() if host.up]
        copies = [
            f"{host.name} runs {slot_key(name, copy.slot)}@{copy.record.generation}, {copy.state}"
            for host in up
            for copy in host.node.momentum.copies.values()
            if copy.name == name
        ]
        first = self.world.by_id[up[0].node.orbits.electors_of(name)[0]]
        claims = [
            f"{slot_key(name, claim.slot)}@{claim.generation} by {first.node.members.name_of(claim.holder)}"
            for claim in first.node.claims.live(name)
        ]
        return "\n".join([*(copies or ["nobody runs it"]), f"claimed: {', '.join(claims) or 'nothing'}"])

    def left(self) -> str:
        nothing_is_left(self.world)
        return "nothing"

    def part(self, one: str, other: str) -> None:
        self.world.part(one, other)

    def crash(self, node: str) -> None:
        self.world.crash(node)
        self.world.run(0.005)

    def restart(self, node: str, _: str = "", through: str = "") -> None:
        self.world.restart(node, through)
        self.world.run(0.02)

    def pause(self, node: str) -> None:
        self.world.hosts[node].pause()

    def resume(self, node: str) -> None:
        self.world.hosts[node].resume()
        self.world.run(0.005)

    def leave(self, node: str) -> None:
        host = self.world.hosts[node]
        host.step(ev.Leave())
        self.world.run(0.01)
        host.crash()
        self.world.run(0.01)

    def replace(self, name: str, old: str) -> None:
        through = next(n for n, host in self.world.hosts.items() if host.up)
        self.world.add(name, join=through, address=self.world.hosts[old].address)
        self.world.run(0.02)

    def accuse(self, by: str, node: str) -> None:
        liar, me = self.world.hosts[by], self.world.hosts[node].node.me
        word, topic = wire.Accused(me.id, me.boot, 1, "closed"), liar.node.members.topic()
        self.world.traced(liar, ef.Gossip(topic, word))
        self.world.gossip(liar, topic, word)
        self.world.run(0.01)

    def views(self) -> str:
        return "\n".join(map(view, (host for host in self.world.hosts.values() if host.up)))

    def cut(self, *words: str) -> None:
        at = words.index("/")
        self.world.cut([list(words[:at]), list(words[at + 1 :])])

    def heal(self) -> None:
        self.world.heal()

    def fault(self, node: str, name: str, *why: str) -> None:
        self.world.hosts[node].faults[name] = StartFault(" ".join(why))

    def cure(self, name: str) -> None:
        for host in self.world.hosts.values():
            host.faults.pop(name, None)

    def busy(self, node: str) -> None:
        host = self.world.hosts[node]
        host.capacity = replace(host.capacity, load_millis=3900)
        host.step(ev.Sampled(host.capacity))
        self.world.run(3.0)

    def electors(self, name: str) -> str:
        node = self.world.hosts["n1"].node
        return " ".join(map(node.members.name_of, node.orbits.electors_of(name)))


def view(host: Host) -> str:
    members = host.node.members
    seen = [host.name] + [
        f"{members.name_of(peer)}{'' if member.state == ALIVE else ' ' + member.state}"
        for peer, member in sorted(members.members.items())
        if member.state
    ]
    preserving = ", preserving itself" if members.preserving() else ""
    return f"{host.name} sees {', '.join(seen)}{preserving}"


def orbiting(host: Host) -> str:
    orbits = host.node.orbits
    told = [f"{name}@{held.record.generation}" for name, held in sorted(orbits.records.items())]
    told += [f"{name}@{held.record.generation} withdrawn" for name, held in sorted(orbits.tombstones.items())]
    return ", ".join(told) or "nothing"


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
        "drain", "idle", "copy_crashes", "holder_killed", "scale", "must_run", "newer_generation",
        "holder_silent", "hostile_accuser", "seed_restarted", "same_address", "left_and_returned", "split_and_heal",
        "self_preservation", "renewal_and_expiry", "newer_and_rollback", "withdrawn", "power_cut",
    }  # fmt: skip
