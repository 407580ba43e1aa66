"""A control socket without a node: answers each operation with lines that a test wrote."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WAIT_S = 10.0


class NodeStub:
    """``answers``: by operation the lines to send (bytes as they are, anything else as JSON). ``asked`` are the
    requests that came, in order. An operation without an answer is hung up on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answers: dict[str, Sequence[Any]] = {}
        self.asked: list[dict[str, Any]] = []
        self.hold_open = threading.Event()
        self.client_left = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / "control.sock"))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def done(self, op: str, result: Any, *items: Any) -> None:
        """Answer an operation with items and a result."""
        self.answers[op] = [*({"item": item} for item in items), {"done": result}]

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(WAIT_S)
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        request = json.loads(connection.makefile("rb").readline() or b"{}")
        self.asked.append(request)
        for line in self.answers.get(request.get("op", ""), ()):
            data = line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
            connection.sendall(data)
        if self.hold_open.is_set() and connection.recv(1) == b"":
            self.client_left.set()

    def close(self) -> None:
        """Listen no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(WAIT_S)


@contextmanager
def node_stub(folder: Path) -> Iterator[NodeStub]:
    """A stub in a folder, closed in the end."""
    folder.mkdir(parents=True, exist_ok=True)
    stub = NodeStub(folder)
    try:
        yield stub
    finally:
        stub.close()
