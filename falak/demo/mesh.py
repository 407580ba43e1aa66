"""The demo's nodes: ``falak up`` processes on the loopback, in a folder of their own, each ended by its id.

Owns processes and the folder; knows nothing of capsules. Whatever happens, ``stop`` leaves nothing behind; where
this process is killed, its nodes end by themselves (``node``), unless they were told to ``stay``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import falak
from falak.client import Client
from falak.config import KEYS
from falak.demo.node import STAY
from falak.demo.signals import Signals
from falak.errors import OperatorError

READY_S: Final = 20.0
"""A node that does not serve by then has failed to start."""
STOP_S: Final = 5.0
"""A node that has not ended this long after SIGTERM is killed."""
POLL_S: Final = 0.002
LOG_LINES: Final = 8
"""Lines of a failed node's log that are shown."""
OURS: Final = frozenset({"FALAK_DATA", *(f"FALAK_{key.upper()}" for key in KEYS)})
"""Variables that would set up the nodes: the demo's are the same everywhere."""
HOME: Final = Path(falak.__file__).resolve().parents[1]
"""Where children find the same Falak, wherever this process was started."""


@dataclass(slots=True)
class LocalNode:
    """One process. ``http`` and ``ticket`` are known once it is ready, ``ready_ms`` is what that took."""

    name: str
    folder: Path
    process: subprocess.Popen[bytes]
    started_at: float
    ready_ms: float = 0.0
    http: str = ""
    ticket: str = ""

    @property
    def client(self) -> Client:
        """Its client."""
        return Client(self.folder)

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.folder.with_suffix(".log")

    @property
    def ready_file(self) -> Path:
        """What it writes once it serves."""
        return self.folder.with_suffix(".json")

    def last_words(self) -> str:
        """The end of its log, for people."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-LOG_LINES:])


@dataclass(slots=True)
class Ended:
    """What ``stop`` did: processes that ended by themselves after SIGTERM, and those that had to be killed."""

    ended: int = 0
    killed: list[str] = field(default_factory=list)


class LocalMesh:
    """Nodes on the loopback. ``nodes`` are those that were started, in order. ``signals`` are held back while
    one is started: a process that no list knows would stay behind."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="falak-demo-"))
        except OSError as error:
            raise OperatorError(f"no folder for the demo can be made: {error}", "set TMPDIR to one") from error
        self.nodes: list[LocalNode] = []

    def start(self, names: list[str], ticket: str = "") -> list[LocalNode]:
        """Start processes at once and wait until each serves. Raises ``OperatorError`` with the log's end."""
        nodes = []
        for name in names:
            with self._signals.held():
                nodes.append(self._spawn(name, ticket))
        waiting = list(nodes)
        while waiting:
            for node in list(waiting):
                if node.ready_file.exists():
                    _take_ready(node)
                    waiting.remove(node)
                else:
                    _check_alive(node)
            time.sleep(POLL_S)
        return nodes

    def _spawn(self, name: str, ticket: str) -> LocalNode:
        folder = self.folder / name
        command = [sys.executable, "-m", "falak.demo.node", "up", "--name", name, "--data", str(folder)]
        command += ["--listen", "/ip4/127.0.0.1/tcp/0", "--http", "127.0.0.1:0"]
        command += ["--ready-file", str(folder.with_suffix(".json")), *(["--join", ticket] if ticket else [])]
        with folder.with_suffix(".log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=HOME,
                env={key: value for key, value in os.environ.items() if key not in OURS},
                stdin=subprocess.PIPE,  # closed when this process is gone: the nodes end with it
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the demo, which then ends its nodes in order
            )
        node = LocalNode(name, folder, process, time.monotonic())
        self.nodes.append(node)
        return node

    def stay(self) -> None:
        """Leave the nodes behind when this process ends."""
        for node in self.nodes:
            if node.process.stdin is not None:
                with suppress(BrokenPipeError):  # it has ended
                    node.process.stdin.write(STAY)
                    node.process.stdin.flush()

    def stop(self) -> Ended:
        """End every process, by its id, and remove the folder."""
        outcome = Ended()
        alive = [node for node in self.nodes if node.process.poll() is None]
        for node in alive:
            node.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        for node in alive:
            try:
                node.process.wait(max(0.0, deadline - time.monotonic()))
                outcome.ended += 1
            except subprocess.TimeoutExpired:
                node.process.kill()
                node.process.wait()
                outcome.killed.append(node.name)
        for node in self.nodes:
            if node.process.stdin is not None:
                node.process.stdin.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return outcome


def _take_ready(node: LocalNode) -> None:
    ready: dict[str, Any] = json.loads(node.ready_file.read_text())
    node.ready_ms = (time.monotonic() - node.started_at) * 1000
    node.http, node.ticket = ready["http"], ready["ticket"]


def _check_alive(node: LocalNode) -> None:
    code = node.process.poll()
    if code is not None:
        raise OperatorError(f"node {node.name} ended with exit code {code} before it served", node.last_words())
    if time.monotonic() - node.started_at > READY_S:
        raise OperatorError(f"node {node.name} does not serve after {READY_S:g} s", node.last_words())
