"""HTTP/2 (prior knowledge, no TLS) from clients that break its rules: refused, bounded, no harm to others."""

import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest
from hpack import Encoder
from hyperframe.frame import ContinuationFrame, Frame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame

from tests.asking import get
from tests.hostile.test_http1 import HOST
from tests.hostile.test_slow_and_large import honest, rss_bytes
from tests.nodes import Running

pytestmark = pytest.mark.xdist_group("hostile_http")
Pairs = list[tuple[str, str]]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD: Pairs = [(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", "/status/299")]
GROWTH_MAX_BYTES = 64 << 20


@dataclass
class Outcome:
    """What became of one request: its status, or how its stream or connection ended."""

    status: int = 0
    body: bytes = b""
    reset: bool = False
    closed: bool = False


class Client:
    """One connection. It lets everything out that HTTP/2 forbids."""

    def __init__(self, node: Running) -> None:
        host, _, port = node.ready["http"].rpartition(":")
        self.socket = socket.create_connection((host, int(port)), 5)
        config = h2.config.H2Configuration(
            validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding=None
        )
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.flush()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def flush(self) -> None:
        self.send(self.h2.data_to_send())

    def send(self, data: bytes) -> None:
        """Send all, or as much as is taken before the other side closes."""
        try:
            self.socket.sendall(data)
        except OSError:
            return

    def ask(self, headers: Iterable[tuple[str, str]], body: bytes | None = None) -> Outcome:
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, list(headers), end_stream=body is None)
        if body is not None:
            self.h2.send_data(stream, body, end_stream=True)
        self.flush()
        return self.outcome(stream)

    def outcome(self, stream: int, within_s: float = 5.0) -> Outcome:
        """Read until the stream or the connection has ended."""
        seen = Outcome()
        deadline = time.monotonic() + within_s
        while not self._read(deadline, stream, seen):
            pass
        return seen

    def _read(self, deadline: float, stream: int, seen: Outcome) -> bool:
        self.socket.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = self.socket.recv(65536)
            events = self.h2.receive_data(data) if data else []
        except (ConnectionError, h2.exceptions.ProtocolError):
            data, events = b"", []
        seen.closed = not data
        ended = seen.closed
        for event in events:
            if isinstance(event, h2.events.ResponseReceived) and event.stream_id == stream:
                seen.status = int(dict(event.headers)[b":status"])
            elif isinstance(event, h2.events.DataReceived) and event.stream_id == stream:
                seen.body += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
            elif isinstance(event, h2.events.StreamReset) and event.stream_id == stream:
                seen.reset = ended = True
            elif isinstance(event, h2.events.StreamEnded) and event.stream_id == stream:
                ended = True
            elif isinstance(event, h2.events.ConnectionTerminated):
                seen.closed = ended = True
        self.flush()
        return ended


def with_head(**changed: str | None) -> Pairs:
    """The usual pseudo headers with some changed, or left out (None). ``_`` stands for ``:``."""
    head = dict(HEAD) | {f":{name[1:]}": value for name, value in changed.items() if value is not None}
    for name, value in changed.items():
        if value is None:
            del head[f":{name[1:]}"]
    return list(head.items())


MALFORMED: dict[str, Pairs] = {
    "transfer-encoding": [*HEAD, ("transfer-encoding", "chunked")],
    "connection": [*HEAD, ("connection", "close")],
    "keep-alive": [*HEAD, ("keep-alive", "1")],
    "proxy-connection": [*HEAD, ("proxy-connection", "close")],
    "upgrade": [*HEAD, ("upgrade", "websocket")],
    "te that is not trailers": [*HEAD, ("te", "gzip")],
    "a line end in a value": [*HEAD, ("x", "a\r\ntransfer-encoding: chunked")],
    "NUL in a value": [*HEAD, ("x", "a\0b")],
    "a line end in a name": [*HEAD, ("x: y\r\nz", "1")],
    "upper case in a name": [*HEAD, ("X-Upper", "1")],
    "an empty name": [*HEAD, ("", "1")],
    "a space in a name": [*HEAD, ("x y", "1")],
    "a pseudo header behind": [("x", "1"), *HEAD],
    "an unknown pseudo header": [*HEAD, (":unknown", "1")],
    "a pseudo header of answers": [*HEAD, (":status", "200")],
    "two paths": [*HEAD, (":path", "/other")],
    "two authorities": [*HEAD, (":authority", "other.localhost")],
    "no method": with_head(_method=None),
    "no path": with_head(_path=None),
    "no scheme": with_head(_scheme=None),
    "an empty path": with_head(_path=""),
    "a path without a slash": with_head(_path="status/299"),
    "a line end in the path": with_head(_path="/a HTTP/1.1\r\nx: y"),
    "a space in the path": with_head(_path="/a b"),
    "a line end in the method": with_head(_method="GET / HTTP/1.1\r\nx: y\r\n\r\nGET"),
    "a line end in the authority": with_head(_authority=f"{HOST}\r\nx: y"),
    "a user in the authority": with_head(_authority=f"a@{HOST}"),
    "no authority and no Host": with_head(_authority=None),
    "another Host": [*HEAD, ("host", "other.localhost")],
    "two Hosts": [*with_head(_authority=None), ("host", HOST), ("host", "other.localhost")],
    "CONNECT": [(":method", "CONNECT"), (":authority", f"{HOST}:80")],
    "CONNECT with a path": with_head(_method="CONNECT"),
    "two lengths": [*HEAD, ("content-length", "0"), ("content-length", "1")],
    "a length that is none": [*HEAD, ("content-length", "x")],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_refused(probe: Running, name: str) -> None:
    with Client(probe) as client:
        outcome = client.ask(MALFORMED[name])
    assert outcome.reset or outcome.closed or outcome.status == 400, outcome
    assert get(probe, "probe").status == 200


def test_a_good_request_is_answered(probe: Running) -> None:
    with Client(probe) as client:
        assert client.ask(HEAD).status == 299
        assert client.ask([*with_head(_authority=None), ("host", HOST)]).status == 299
        echoed = client.ask(with_head(_method="POST", _path="/echo"), b"body")
    assert echoed.status == 200 and echoed.body.endswith(b"\n\nbody")


@pytest.mark.parametrize(("said", "sent"), [(5, b"123"), (3, b"12345"), (0, b"1")])
def test_a_body_of_another_length_is_refused(probe: Running, said: int, sent: bytes) -> None:
    with Client(probe) as client:
        outcome = client.ask([*with_head(_method="POST", _path="/upload"), ("content-length", str(said))], sent)
    assert outcome.reset or outcome.closed or outcome.status == 400, outcome


# --- floods ---------------------------------------------------------------------------------------------------

BLOCK = Encoder().encode(HEAD)


def headers(stream: int, block: bytes = BLOCK, *flags: str) -> Frame:
    frame = HeadersFrame(stream, block)
    for flag in flags:
        frame.flags.add(flag)
    return frame


def flood(name: str) -> Iterable[Frame]:
    """Frames without an end in sight: enough of them to see whether they are bounded."""
    if name == "continuations":
        yield headers(1, BLOCK, "END_STREAM")
        yield from (ContinuationFrame(1, Encoder().encode([(f"x{n}", "y" * 1000)])) for n in range(20_000))
    elif name == "empty continuations":
        yield headers(1, BLOCK, "END_STREAM")
        yield from (ContinuationFrame(1, b"") for _ in range(100_000))
    elif name == "resets":
        for stream in range(1, 60_000, 2):
            yield headers(stream, BLOCK, "END_STREAM", "END_HEADERS")
            yield RstStreamFrame(stream, 8)
    elif name == "settings":
        yield from (SettingsFrame(0, {4: 65_535 + n % 2}) for n in range(50_000))
    elif name == "pings":
        yield from (PingFrame(0, struct.pack("!Q", n)) for n in range(100_000))
    elif name == "a header that grows when it is unpacked":
        yield headers(
            1, Encoder().encode([*HEAD, ("x", "y" * 4000)]) + b"\xbe" * 15_000, "END_STREAM", "END_HEADERS"
        )
    elif name == "requests that nobody reads the answers of":
        large = Encoder().encode(with_head(_path="/stream/1000"))
        yield SettingsFrame(0, {4: 0})
        yield from (headers(stream, large, "END_STREAM", "END_HEADERS") for stream in range(1, 20_000, 2))


FLOODS = [
    "continuations",
    "empty continuations",
    "resets",
    "settings",
    "pings",
    "a header that grows when it is unpacked",
    "requests that nobody reads the answers of",
]


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_bounded(probe: Running, name: str) -> None:
    get(probe, "probe")
    before = rss_bytes(probe)
    host, _, port = probe.ready["http"].rpartition(":")
    with honest(probe), socket.create_connection((host, int(port)), 5) as connection:
        try:
            connection.sendall(PREFACE + SettingsFrame(0).serialize())
            for frame in flood(name):
                connection.sendall(frame.serialize())
        except OSError:
            pass  # closed on, or not read from: both bound it
        assert rss_bytes(probe) - before < GROWTH_MAX_BYTES
