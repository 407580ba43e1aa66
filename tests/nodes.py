"""Real meshes for tests: nodes as processes of the command ``falak up``, on loopback, in folders of their own.

``Mesh.up`` starts one and waits until it serves; ``Mesh.end`` ends every one by its process id and tells which
did not end well, or left its lock or socket behind. The fixture ``mesh`` (integration/conftest.py) does both.
"""

import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from falak.client import Client
from falak.errors import OperatorError

ROOT = Path(__file__).resolve().parents[1]
HELLO = ROOT / "examples" / "hello" / "hello.wasm"
READY_S = 20.0
END_S = 20.0
"""A node ends in a second; its last writes wait for the disk, which a build beside it keeps busy for longer."""
LOOK_S = 0.01


def until(happened: Callable[[], Any], what: str, deadline_s: float = 10.0) -> Any:
    """Look until ``happened()`` is true, and return it. Fails the test at the deadline."""
    ends_at = time.monotonic() + deadline_s
    while True:
        if found := happened():
            return found
        if time.monotonic() > ends_at:
            pytest.fail(f"did not happen within {deadline_s:g} s: {what}")
        time.sleep(LOOK_S)


@dataclass
class Running:
    """One node's process. ``ready`` is what its ready file says."""

    name: str
    data: Path
    process: subprocess.Popen[bytes]
    log: Path
    ready_file: Path
    ready: dict[str, Any] = field(default_factory=dict)
    killed: bool = False

    @property
    def client(self) -> Client:
        return Client(self.data)

    @property
    def ticket(self) -> str:
        return str(self.ready["ticket"])

    def said(self) -> str:
        """Everything it printed."""
        return self.log.read_text()

    def serves(self) -> bool:
        if self.process.poll() is not None:
            pytest.fail(f"{self.name} ended with {self.process.returncode}:\n{self.said()}")
        if not self.ready and self.ready_file.exists():
            self.ready = msgspec.json.decode(self.ready_file.read_bytes())
        return bool(self.ready)

    def request(self, host: str, path: str = "/", timeout_s: float = 15.0) -> tuple[int, str]:
        """``GET path`` at this node for ``host``: status and body."""
        connection = http.client.HTTPConnection(str(self.ready["http"]), timeout=timeout_s)
        try:
            connection.request("GET", path, headers={"Host": host})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def launch(self, name: str = "hello", component: Path = HELLO, *, call: bool = True, **fields: Any) -> Any:
        """Launch and return what became of it. A failure tells what the nodes saw."""
        try:
            with self.client.launch(component, {"name": name, **fields}, call=call) as stages:
                return stages.result
        except OperatorError as error:
            seen = "\n".join(map(str, self.client.events(capsule=name)))
            pytest.fail(f"{error}\n{seen}\n{self.client.counters()}\n{self.said()}")

    def events(self, *names: str, capsule: str = "") -> list[Any]:
        """This node's own events of these names."""
        return [item for item in self.client.events(capsule=capsule, local=True) if item["event"] in names]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait: its exit code."""
        if self.process.poll() is None:
            self.killed = self.killed or number == signal.SIGKILL
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end, which was asked for: its exit code. One that does not end is killed."""
        stuck = self.stuck()
        if stuck:
            pytest.fail(stuck)
        return self.process.wait()

    def stuck(self) -> str:
        """Wait for its end; what is to be told of one that had to be killed, else nothing."""
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            stands = Path(f"/proc/{self.process.pid}/wchan").read_text()
            self.process.kill()
            self.process.wait()
            return f"{self.name} did not end within {END_S:g} s (it stood in {stands}):\n{self.said()}"
        return ""


class Mesh:
    """The nodes of one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes: list[Running] = []

    def start(self, name: str, *flags: str, data: Path | None = None, first: str = "") -> Running:
        """Start a node and do not wait. ``flags`` come after (and so over) those every test node has. ``first``:
        Python that its process runs before anything else, to make it another one than it is."""
        data = data or self.folder / name
        ready_file, log = self.folder / f"{name}.ready", self.folder / f"{name}.log"
        usual = [
            "--name",
            name,
            "--data",
            str(data),
            "--listen",
            "/ip4/127.0.0.1/tcp/0",
            "--http",
            "127.0.0.1:0",
        ]
        for flag in ("--listen", "--http"):
            if flag in flags:
                at = usual.index(flag)
                del usual[at : at + 2]
        command = [sys.executable, "-m", "falak", "up", *usual, "--ready-file", str(ready_file), *flags]
        ready_file.unlink(missing_ok=True)
        with log.open("ab") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=ROOT, env=self._environ(first)
            )
        node = Running(name, data, process, log, ready_file)
        self.nodes.append(node)
        return node

    def _environ(self, first: str) -> dict[str, str] | None:
        if not first:
            return None
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        (folder / "sitecustomize.py").write_text(first)
        return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}

    def up(self, name: str, *flags: str) -> Running:
        """Start a node, joined to the first one, and wait until it serves."""
        serving = [node for node in self.nodes if node.ready and node.process.poll() is None]
        join = ["--join", serving[0].ticket] if serving and "--join" not in flags else []
        node = self.start(name, *flags, *join)
        until(node.serves, f"{name} serves", READY_S)
        return node

    def grow(self, count: int) -> list[Running]:
        """``count`` nodes, each knowing all of them alive and linked."""
        nodes = [self.up(f"n{len(self.nodes) + 1}") for _ in range(count)]
        self.settle(nodes)
        return nodes

    @staticmethod
    def settle(nodes: list[Running]) -> None:
        """Wait until each of these nodes sees all of them alive and linked."""

        def all_linked() -> bool:
            for node in nodes:
                rows = node.client.nodes()
                if sum(row["state"] == "alive" and row["linked"] for row in rows) < len(nodes):
                    return False
            return True

        until(all_linked, f"{len(nodes)} nodes see each other")

    def end(self) -> list[str]:
        """End every node. Returns what was wrong with their ends."""
        for node in self.nodes:
            if node.process.poll() is None:
                node.process.send_signal(signal.SIGCONT)
                node.process.terminate()
        stuck = [node.stuck() for node in self.nodes]  # all of them, whatever one does: nothing stays behind
        wrong = [what for what in stuck if what]
        for node, what in zip(self.nodes, stuck, strict=True):
            code = node.process.returncode
            if node.ready and not node.killed and not what and code != 0:
                wrong.append(f"{node.name} ended with {code}:\n{node.said()}")
            left = [name for name in ("lock", "control.sock") if (node.data / name).exists()]
            if left and not node.killed:
                wrong.append(f"{node.name} left {left} behind")
        return wrong
