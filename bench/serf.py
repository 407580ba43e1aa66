"""Serf, the peer for noticing that a node is gone: found, started, and asked its version.

``scripts/tools`` builds it from the Go module proxy. Agents are joined to the first one, on loopback, with the
settings that Serf comes with (``-profile=lan``).
"""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Final

from bench.mesh import until
from bench.processes import Process
from bench.run import Run

PROGRAM: Final = Path.home() / ".cache" / "falak" / "bin" / "serf"
BUILT: Final = "0.11.0"
"""What ``scripts/tools`` builds. The program itself says another version."""
NOTICED_S: Final = 60.0
LOOK_S: Final = 0.005


class Agent:
    """One agent and its log."""

    def __init__(self, run: Run, name: str, join: str = "") -> None:
        self.name, self.address = name, f"127.0.0.1:{free_port()}"
        command: list[str | Path] = [
            PROGRAM, "agent", f"-node={name}", f"-bind={self.address}", f"-rpc-addr=127.0.0.1:{free_port()}",
        ]  # fmt: skip
        self._log = run.fresh(f"{name}-serf")
        with self._log.open("wb") as log:
            self.process: Process = run.start(
                [*command, *([f"-join={join}"] if join else [])], out=log.fileno()
            )

    def knows(self, event: str, name: str) -> bool:
        """Whether its log tells an event of a member."""
        return f"{event}: {name} " in self._log.read_text(errors="replace")


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def version(run: Run) -> str:
    """What the program says of itself. Raises ``RuntimeError`` when it is not there."""
    if not PROGRAM.exists():
        raise RuntimeError(f"{PROGRAM} is not there: `make tools` builds it (it needs go on PATH)")
    says = run.output([PROGRAM, "version"]).split()[0].lower().removeprefix("v")
    return f"{BUILT} (says {says})"


def first_notice_s(run: Run, count: int) -> float:
    """Seconds from a member's SIGKILL until the first of the others logs that it failed."""
    first = Agent(run, "s1")
    until("serf listens", lambda: first.knows("EventMemberJoin", "s1"), within_s=NOTICED_S)
    agents = [first, *(Agent(run, f"s{number}", first.address) for number in range(2, count + 1))]
    until(
        "all agents know one another",
        lambda: all(agent.knows("EventMemberJoin", other.name) for agent in agents for other in agents),
        within_s=NOTICED_S,
    )
    victim, *others = agents[::-1]
    began = time.monotonic()
    victim.process.kill()
    until(
        "an agent notices",
        lambda: any(agent.knows("EventMemberFailed", victim.name) for agent in others),
        within_s=NOTICED_S,
        pause_s=LOOK_S,
    )
    noticed = time.monotonic() - began
    for agent in others:
        agent.process.ask_to_end()
    for agent in others:
        run.end(agent.process)
    return noticed
