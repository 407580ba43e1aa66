"""Bounds of the gateway towards its clients, its constructor, and its end."""

import errno
import socket
import time
from contextlib import ExitStack

import h2.connection
import httpx
import pytest

from falak import _native as native
from tests import http1
from tests.integration.native.conftest import Node
from tests.integration.native.front import HOST, SETTINGS, Front, MakeFront, aot, front, make_front

__all__ = ["aot", "front", "make_front"]
CHUNKED = "Transfer-Encoding: chunked"
GOAWAY = 7


def post(headers: str, rest: bytes) -> bytes:
    return f"POST /upload HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n\r\n".encode() + rest


WRONG = {
    "CL and TE": post(f"Content-Length: 5\r\n{CHUNKED}", b"0\r\n\r\n"),
    "TE and CL": post(f"{CHUNKED}\r\nContent-Length: 5", b"0\r\n\r\n"),
    "the same CL twice": post("Content-Length: 5\r\nContent-Length: 5", b"12345"),
    "a coding before chunked": post("Transfer-Encoding: gzip, chunked", b"0\r\n\r\n"),
    "a bare LF in the request line": b"GET / HTTP/1.1\nHost: probe.test\r\n\r\n",
    "a bare LF behind a header": b"GET / HTTP/1.1\r\nHost: probe.test\n\r\n",
    "a bare LF at the end": b"GET / HTTP/1.1\r\nHost: probe.test\r\n\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\nHost: probe.test\r\nHost: probe.test\r\n\r\n",
    "a target with another host": b"GET http://other.test/ HTTP/1.1\r\nHost: probe.test\r\n\r\n",
    "no host name": b"GET / HTTP/1.1\r\nHost: probe test\r\n\r\n",
    "CONNECT": b"CONNECT probe.test:80 HTTP/1.1\r\nHost: probe.test:80\r\n\r\n",
    "*": b"OPTIONS * HTTP/1.1\r\nHost: probe.test\r\n\r\n",
    "no HTTP": b"hello\r\n\r\n",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_request_is_refused_counted_and_the_last(front: Front, name: str) -> None:
    with http1.Connection(front.http) as connection:
        connection.send(WRONG[name] + http1.request("GET", "/status/299", HOST))
        answer = connection.answer()
        assert answer and answer.status == 400
        assert connection.closed()
    front.until("bad_requests", 1, capsule="")
    assert front.get("/hello").status == 200


def test_a_wrong_chunk_ends_the_request(front: Front) -> None:
    with front.send("GET", "/hello") as connection:  # the guard is by now behind one whole request
        assert connection.answer()
        connection.send(post(CHUNKED, b"5\r\n12345\n0\r\n\r\n") + http1.request("GET", "/status/299", HOST))
        answer = connection.answer()
        assert answer is None or answer.status != 299
        assert connection.answer() is None


def test_a_head_that_is_too_large_is_refused(front: Front) -> None:
    long = [("X-Long", "x" * SETTINGS["head_max_bytes"])]
    assert front.ask("GET", "/hello", headers=long).status == 431
    assert front.ask("GET", "/hello", headers=[("X-Long", "x" * 8000)]).status == 200
    with httpx.Client(http1=False, http2=True) as client, pytest.raises(httpx.HTTPError):
        client.get(
            f"http://{front.http}/hello", headers={"Host": HOST, "X-Long": "x" * 200_000}
        ).raise_for_status()


def test_a_head_that_does_not_come_ends_the_connection(make_front: MakeFront) -> None:
    front = make_front(head_ms=200)
    front.serve()
    for early in (b"", b"GET / HT", b"PRI * HT"):
        with http1.Connection(front.http) as connection:
            connection.send(early)
            assert connection.closed()
    with front.send("GET", "/hello") as connection:
        assert connection.answer()
        assert connection.closed(), "an idle connection is not kept longer either"


def test_an_idle_http2_connection_is_shut_down(make_front: MakeFront) -> None:
    front = make_front(head_ms=300)
    front.serve()
    client = h2.connection.H2Connection()
    client.initiate_connection()
    with http1.Connection(front.http) as connection:
        connection.send(client.data_to_send())
        data = b""
        while more := connection.socket.recv(65536):
            data += more
    kinds = []
    while data:  # a frame: its length, its kind, and 5 bytes more before what it carries
        kinds.append(data[3])
        data = data[9 + int.from_bytes(data[:3], "big") :]
    assert kinds.count(GOAWAY) >= 1, kinds


def test_more_connections_than_the_limit_wait_for_their_turn(make_front: MakeFront) -> None:
    front = make_front(connections_max=2)
    front.serve()
    with ExitStack() as stack:
        first = [stack.enter_context(front.send("GET", "/hello")) for _ in range(2)]
        assert all(connection.answer() for connection in first)
        third = stack.enter_context(front.send("GET", "/hello"))
        third.within_s = 0.3
        with pytest.raises(TimeoutError):
            third.answer()
        first[0].socket.close()
        third.within_s = 5.0
        assert third.answer()


def test_a_body_that_stands_still_is_cut(make_front: MakeFront) -> None:
    front = make_front(body_idle_ms=300)
    front.serve(wall_ms=60_000)
    start = time.monotonic()
    with http1.Connection(front.http) as connection:
        connection.send(post("Content-Length: 10", b"12345"))
        answer = connection.answer()
        assert answer is None or answer.text != "10"
    with front.send("GET", "/half/wait") as connection:
        answer = connection.answer()
        assert answer and not answer.whole and answer.text == "the first half\n"
    assert 0.6 <= time.monotonic() - start < 20
    front.until("in_flight", 0)


@pytest.mark.parametrize("version", [1, 2])
def test_a_client_that_does_not_read_is_cut(make_front: MakeFront, version: int) -> None:
    front = make_front(body_idle_ms=400)
    front.serve(wall_ms=60_000)
    with ExitStack() as stack:
        if version == 1:
            connection = stack.enter_context(http1.Connection(front.http))
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.send(http1.request("GET", "/stream/100000", HOST))
        else:
            client = stack.enter_context(httpx.Client(http1=False, http2=True))
            url = f"http://{front.http}/stream/100000"
            stack.enter_context(client.stream("GET", url, headers={"Host": HOST}))
        front.until("in_flight", 1)
        front.until("in_flight", 0)


def test_a_constructor_says_what_is_wrong(node_alone: Node) -> None:
    events, mesh = node_alone.events, node_alone.mesh

    def start(listen: str = "127.0.0.1:0", **settings: object) -> native.Gateway:
        all_settings = {name: value for name, value in (SETTINGS | settings).items() if value is not None}
        return native.Gateway(events, mesh, listen=listen, settings=all_settings)  # type: ignore[arg-type]

    for settings, text in (
        ({"park_ms": None}, "missing settings: park_ms"),
        ({"colour": 1}, "unknown setting: colour"),
        ({"keys_max": 0}, "keys_max must be"),
        ({"keys_max": "many"}, "keys_max must be"),
    ):
        with pytest.raises(ValueError, match=text):
            start(**settings)
    for listen in ("here", "127.0.0.1", ":80", "127.0.0.1:http"):
        with pytest.raises(ValueError, match="HOST:PORT"):
            start(listen)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError) as caught:
        start(f"127.0.0.1:{taken.getsockname()[1]}")
    assert caught.value.errno == errno.EADDRINUSE and "cannot listen on 127.0.0.1:" in str(caught.value)


@pytest.fixture
def node_alone(make_node) -> Node:
    node: Node = make_node()
    return node


def test_ipv6_and_a_gateway_without_a_mesh(node_alone: Node) -> None:
    gateway = native.Gateway(node_alone.events, None, listen="[::1]:0", settings=SETTINGS)
    answer = http1.exchange(gateway.address, http1.request("GET", "/", "a b"))
    assert answer and answer.status == 400
    gateway.set_routes([(HOST, "/", "probe")])
    gateway.set_endpoints("probe", [("node", node_alone.id, 0)])
    with http1.Connection(gateway.address) as connection:
        connection.send(http1.request("GET", "/", HOST))
        assert "no mesh" in node_alone.wait(native.UNREACHABLE, "probe", node_alone.id)[2]
    gateway.close()


def test_commands_say_what_is_wrong(front: Front) -> None:
    gateway = front.gateway
    for endpoint, text in (
        (("local", "99", 0), "instance 99 of probe is not loaded"),
        (("local", "one", 0), "no number"),
        (("node", "nobody", 0), "no PeerId"),
        (("moon", "1", 0), '"local" or "node"'),
    ):
        with pytest.raises(ValueError, match=text):
            gateway.set_endpoints("probe", [endpoint])
    assert front.get("/hello").status == 200, "a refused command changes nothing"
    with pytest.raises(ValueError, match="status"):
        gateway.refuse("probe", 100, "no", 0)


def test_the_end_lets_answers_end_and_then_cuts(make_front: MakeFront) -> None:
    front = make_front()
    front.serve()
    with front.send("GET", "/wait/300") as soon, front.send("GET", "/half/wait") as late:
        late.until(b"the first half")
        front.until("in_flight", 2)
        start = time.monotonic()
        front.gateway.close()
        assert 0.9 < time.monotonic() - start < 10
        answer = soon.answer()
        assert answer and answer.whole and answer.text == "hello\n"
        cut = late.answer()
        assert cut and not cut.whole
    with pytest.raises(ConnectionRefusedError):
        http1.Connection(front.http)
    front.gateway.close()
    for command in (
        lambda: front.gateway.set_routes([]),
        lambda: front.gateway.set_endpoints("probe", []),
        lambda: front.gateway.refuse("probe", 503, "no", 0),
        lambda: front.gateway.unload(1),
    ):
        with pytest.raises(ConnectionError):
            command()
    assert front.stats()["requests"] == 2, "what was counted can still be read"
