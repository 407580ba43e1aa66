"""An HTTP/1.1 client that hides nothing: it sends the bytes it is given and reads answers with h11.

Owns one connection at a time and deadlines on it; it never retries, follows, decodes or adds a header.
"""

import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import h11

Headers = list[tuple[str, str]]
ANSWER_S = 10.0
"""Longest wait for an answer, from its first byte to its last."""


@dataclass(frozen=True)
class Answer:
    """``whole``: its framing says that it ended; else the connection was closed or reset in its middle."""

    status: int
    headers: Headers
    body: bytes = b""
    trailers: Headers = field(default_factory=list)
    whole: bool = True

    def header(self, name: str) -> str | None:
        """The values of a header, joined; None without it."""
        values = [value for key, value in self.headers if key == name.lower()]
        return ", ".join(values) if values else None

    @property
    def text(self) -> str:
        return self.body.decode()


def request(
    method: str,
    target: str,
    host: str,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes | None = None,
    chunks: Iterable[bytes] | None = None,
    trailers: Iterable[tuple[str, str]] = (),
) -> bytes:
    """The bytes of a request: with ``body`` its length is said, with ``chunks`` it is chunked."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"] + [f"{key}: {value}" for key, value in headers]
    rest = b""
    if chunks is not None:
        lines.append("Transfer-Encoding: chunked")
        rest = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n"
        rest += "".join(f"{key}: {value}\r\n" for key, value in trailers).encode() + b"\r\n"
    elif body is not None:
        lines.append(f"Content-Length: {len(body)}")
        rest = body
    return "\r\n".join([*lines, "", ""]).encode() + rest


class Connection:
    """One TCP connection to ``HOST:PORT``. Answers are read in the order of the requests."""

    def __init__(self, address: str, within_s: float = ANSWER_S) -> None:
        host, _, port = address.rpartition(":")
        self.within_s = within_s
        self.socket = socket.create_connection((host.strip("[]"), int(port)), within_s)
        self._early = b""

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send all of it, or as much as the other side takes before it closes."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def answer(self, method: str = "GET") -> Answer | None:
        """The next answer; None when the connection ends before its head."""
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        parser.send(h11.Request(method=method, target="/", headers=[("Host", "parser")]))
        parser.send(h11.EndOfMessage())
        if self._early:  # no bytes would say that the other side has closed
            parser.receive_data(self._early)
        deadline = time.monotonic() + self.within_s
        head: h11.Response | None = None
        body = bytearray()
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError:  # the connection ended in the middle
                if head is None:
                    return None
                return Answer(head.status_code, plain(head.headers), bytes(body), whole=False)
            if event is h11.NEED_DATA:
                parser.receive_data(self._read(deadline))
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head:
                self._early = parser.trailing_data[0]
                return Answer(head.status_code, plain(head.headers), bytes(body), plain(event.headers))
            elif isinstance(event, h11.ConnectionClosed):
                return None

    def until(self, part: bytes) -> None:
        """Read until a part of an answer has come; what came stays for ``answer``."""
        deadline = time.monotonic() + self.within_s
        while part not in self._early:
            more = self._read(deadline)
            assert more, f"the connection ended before {part!r} came: {self._early[-200:]!r}"
            self._early += more

    def _read(self, deadline: float) -> bytes:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no whole answer within {self.within_s:g} s")
        self.socket.settimeout(left)
        try:
            return self.socket.recv(65536)
        except ConnectionResetError:
            return b""

    def closed(self) -> bool:
        """Whether the other side closes within the time, sending nothing more."""
        return not self._early and self._read(time.monotonic() + self.within_s) == b""


def plain(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    return [(key.decode("latin-1"), value.decode("latin-1")) for key, value in headers]


def exchange(address: str, data: bytes, method: str = "GET", within_s: float = ANSWER_S) -> Answer | None:
    """One request on a connection of its own, and its answer."""
    with Connection(address, within_s) as connection:
        connection.send(data)
        return connection.answer(method)


def get(address: str, host: str, target: str = "/", within_s: float = ANSWER_S) -> Answer:
    """A plain GET that must be answered."""
    answer = exchange(address, request("GET", target, host), within_s=within_s)
    assert answer is not None, f"{address} closed the connection without an answer to GET {target} ({host})"
    return answer
