"""The smallest HTTP client that can time one request: keep-alive, one request at a time, nothing clever.

It understands what the capsules of the benchmarks answer (a length or chunks) and nothing else; load comes
from wrk, not from here.
"""

from __future__ import annotations

import socket
import time
from typing import Final, NamedTuple

ANSWER_S: Final = 15.0
"""An answer that takes longer fails the run."""


class Answer(NamedTuple):
    status: int
    body: bytes
    first_byte_s: float
    """From before the request was written to the first byte of its answer."""
    whole_s: float
    """The same to the last byte."""


class Connection:
    """A connection that is kept. ``address`` is ``HOST:PORT``."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host.strip("[]"), int(port)), ANSWER_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get(self, host: str, path: str = "/") -> Answer:
        """GET. Raises ``OSError`` on a timeout or a closed connection."""
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        started = time.perf_counter()
        self._socket.sendall(request)
        read = self._more()
        first = time.perf_counter()
        while b"\r\n\r\n" not in read:
            read += self._more()
        head, _, body = read.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), None)
        while len(body) < length if length is not None else not body.endswith(b"0\r\n\r\n"):
            body += self._more()
        ended = time.perf_counter()
        status = int(head.split(None, 2)[1])
        return Answer(status, body if length is not None else unchunked(body), first - started, ended - started)

    def _more(self) -> bytes:
        part = self._socket.recv(65536)
        if not part:
            raise ConnectionError("the connection was closed in the middle of an answer")
        return part

    def close(self) -> None:
        self._socket.close()


def unchunked(body: bytes) -> bytes:
    """The content of a whole chunked body without trailers."""
    content = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        content, body = content + rest[:length], rest[length + 2 :]
    return content
