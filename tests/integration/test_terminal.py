"""``falak up`` for people: what it says on a terminal, and that a service has its log alone."""

import fcntl
import json
import os
import pty
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.nodes import ROOT, Mesh

SAID_S = 20.0
ON_TERMINAL = (
    "import fcntl, os, sys, termios\n"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
)
"""The process takes its standard input as the terminal whose Ctrl-C it hears."""


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, b"\x18\x00\xc8\x00\x00\x00\x00\x00")  # 24 rows, 200 columns
        self.process = subprocess.Popen(
            [sys.executable, "-c", ON_TERMINAL, "-m", "falak", *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=ROOT,
            start_new_session=True,
        )
        os.close(slave)
        self.said = ""

    def until(self, word: str) -> str:
        """Read until it said ``word``: everything it said."""
        ends_at = time.monotonic() + SAID_S
        while word not in self.said:
            ready, _, _ = select.select([self._master], [], [], max(0.0, ends_at - time.monotonic()))
            try:
                chunk = os.read(self._master, 4096) if ready else b""
            except OSError:  # the other side is gone
                chunk = b""
            if not chunk:
                pytest.fail(f"it never said {word!r}:\n{self.said}")
            self.said += chunk.decode().replace("\r\n", "\n")
        return self.said

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)


def up(folder: Path, name: str, *flags: str) -> Terminal:
    listen = ("--listen", "/ip4/127.0.0.1/tcp/0", "--http", "127.0.0.1:0")
    return Terminal("up", "--name", name, "--data", str(folder / name), *listen, *flags)


def test_on_a_terminal_a_node_says_what_people_need(mesh: Mesh, tmp_path: Path) -> None:
    ready_file = tmp_path / "ready"
    terminal = up(tmp_path, "first", "--ready-file", str(ready_file))
    try:
        said = terminal.until("Ctrl-C says goodbye")
        assert "first serves, in a mesh of its own" in said
        assert f"falak ticket --data {tmp_path / 'first'})" in said and "falak up --join TICKET" in said
        terminal.until("\n")
        while not ready_file.exists():
            assert terminal.process.poll() is None
        assert f"http://{json.loads(ready_file.read_text())['http']}/" in said
        assert not [line for line in said.splitlines() if line.startswith("{")]
        terminal.press(b"\x03")
        assert terminal.until("first said goodbye and has ended.")
        assert terminal.process.wait(SAID_S) == 0
    finally:
        terminal.close()


def test_on_a_terminal_a_node_that_joins_counts_the_mesh(mesh: Mesh, tmp_path: Path) -> None:
    seed = mesh.up("n1")
    terminal = up(tmp_path, "joiner", "--join", seed.ticket)
    try:
        assert "joiner serves, in a mesh of 2 nodes." in terminal.until("Ctrl-C says goodbye")
        terminal.press(b"\x03")
        assert terminal.process.wait(SAID_S) == 0
    finally:
        terminal.close()


def test_a_service_has_its_log_alone(mesh: Mesh) -> None:
    node = mesh.up("n1")
    assert node.end() == 0
    told = [json.loads(line) for line in node.said().splitlines()]
    assert [line["message"] for line in told] == ["joined", "ended"]
    assert told[0]["http"] == node.ready["http"]
