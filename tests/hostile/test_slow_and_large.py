"""HTTP clients that are too large, too slow, too many or gone: each costs a node little, and others nothing."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from threading import Event, Thread

import pytest

from tests.asking import get, launch
from tests.hostile.test_http1 import HOST
from tests.http1 import Connection, exchange, request
from tests.nodes import Mesh, Running, until

pytestmark = pytest.mark.xdist_group("hostile_http")
HEAD_S = 10.0
"""A node's patience for the head of a request."""
SLACK_S = 5.0
HONEST_S = 10.0
"""An honest request beside an attack is answered within this."""


@contextmanager
def honest(node: Running, capsule: str = "probe") -> Iterator[list[float]]:
    """Honest requests one after another while the block runs; the seconds that each took."""
    took: list[float] = []
    stop = Event()

    def ask() -> None:
        while not stop.is_set() or not took:
            began = time.monotonic()
            assert get(node, capsule, "/status/200").status == 200
            took.append(time.monotonic() - began)

    asking = Thread(target=ask)
    asking.start()
    try:
        yield took
    finally:
        stop.set()
        asking.join(20)
    assert not asking.is_alive() and took
    assert max(took) < HONEST_S, f"{len(took)} requests, median {median(took):.3f} s, worst {max(took):.3f} s"


# --- too large ------------------------------------------------------------------------------------------------


LARGE = {
    "one header of 1 MiB": request("GET", "/", HOST, headers=[("X", "x" * (1 << 20))]),
    "a target of 1 MiB": request("GET", "/" + "x" * (1 << 20), HOST),
    "10,000 headers": request("GET", "/", HOST, headers=[(f"X{n}", "1") for n in range(10_000)]),
    "a method of 1 MiB": b"G" * (1 << 20) + b" / HTTP/1.1\r\nHost: probe.localhost\r\n\r\n",
    "a Host of 1 MiB": request("GET", "/", "a" * (1 << 20)),
    "a head without an end": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200_000,
}


@pytest.mark.parametrize("name", LARGE)
def test_a_head_that_is_too_large_is_refused(probe: Running, name: str) -> None:
    answer = exchange(probe.ready["http"], LARGE[name])
    assert answer is None or answer.status in (400, 414, 431), answer
    assert get(probe, "probe").status == 200


def test_large_chunk_extensions_and_trailers_are_bounded(probe: Running) -> None:
    head = f"POST /upload HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    before = rss_bytes(probe)
    extensions = (b"1;" + b"x" * 4000 + b"\r\nx\r\n") * 2000
    for rest in (b"5;" + b"x" * (8 << 20), b"0\r\n" + b"X: y\r\n" * (1 << 20), extensions):
        with Connection(probe.ready["http"]) as connection:
            connection.send(head + rest)
            with suppress(OSError):  # it may have hung up already
                connection.socket.shutdown(socket.SHUT_WR)
            answer = connection.answer("POST")
        assert answer is None or answer.status >= 400 or not answer.whole, answer
    assert rss_bytes(probe) - before < 32 << 20
    assert get(probe, "probe").status == 200


def rss_bytes(node: Running) -> int:
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


# --- too slow, too many ------------------------------------------------------------------------------------


def test_slow_heads_are_cut_in_time_and_harm_nobody(probe: Running) -> None:
    began = time.monotonic()
    with ExitStack() as stack, honest(probe):
        mute = [stack.enter_context(Connection(probe.ready["http"], HEAD_S + SLACK_S)) for _ in range(200)]
        head = b"GET / HTTP/1.1\r\nHost: probe.localhost\r\nX: "
        for at, connection in enumerate(mute):
            connection.send(head[: at % len(head)] if at else head)
        drips = Thread(target=drip, args=(mute[0],))
        drips.start()
        for connection in mute:
            answer = connection.answer()
            assert answer is None or answer.status in (400, 408)
        assert time.monotonic() - began < HEAD_S + SLACK_S
        drips.join(HEAD_S)
        assert not drips.is_alive()


def drip(connection: Connection) -> None:
    """A byte every 50 ms, until the other side has had enough."""
    over = Event()
    deadline = time.monotonic() + HEAD_S + SLACK_S
    while time.monotonic() < deadline:
        try:
            connection.socket.send(b"x")
        except OSError:
            return
        over.wait(0.05)
    raise AssertionError("a head that never ends was read for ever")


def test_many_connections_harm_nobody(probe: Running) -> None:
    with ExitStack() as stack, honest(probe):
        for _ in range(1000):
            stack.enter_context(Connection(probe.ready["http"]))
        for _ in range(1000):
            with Connection(probe.ready["http"]) as connection:
                connection.send(b"GET / HTTP/1.1\r\nHost: probe.loc")
    until(lambda: open_files(probe) < 200, "the descriptors are free again")


def open_files(node: Running) -> int:
    return len(os.listdir(f"/proc/{node.process.pid}/fd"))


def test_a_client_that_does_not_read_harms_nobody(probe: Running) -> None:
    before = rss_bytes(probe)
    with ExitStack() as stack, honest(probe):
        for _ in range(50):
            connection = stack.enter_context(Connection(probe.ready["http"]))
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.send(request("GET", "/stream/100000", HOST))  # 400 MB that nobody reads
        in_flight = until(lambda: numbers(probe)["in_flight"] >= 50, "all of them are under way")
        assert in_flight
        assert rss_bytes(probe) - before < 128 << 20
    until(lambda: numbers(probe)["in_flight"] == 0, "they end when their clients are gone")


def numbers(node: Running, capsule: str = "probe") -> dict[str, int]:
    found = node.client.counters()["gateway"].get(capsule, {})
    return {key: value for key, value in found.items() if isinstance(value, int)}


def test_endless_guests_harm_nobody(probe: Running) -> None:
    with ExitStack() as stack, honest(probe):
        for path in ("/loop", "/spin/3000", "/memory", "/half/loop") * 4:
            connection = stack.enter_context(Connection(probe.ready["http"]))
            connection.send(request("GET", path, HOST))
        until(lambda: numbers(probe)["traps"] > 0, "the first of them is ended")
    until(lambda: numbers(probe)["in_flight"] == 0, "all of them are ended", 60)


# --- gone ---------------------------------------------------------------------------------------------------


def test_a_client_that_leaves_while_parked_is_noticed(mesh: Mesh) -> None:
    """Two of three nodes stand still, so no election ends: requests at the third are parked."""
    nodes = mesh.grow(3)
    launch(nodes[0], "parked")
    for node in nodes[1:]:
        node.process.send_signal(signal.SIGSTOP)
    try:
        with ExitStack() as stack:
            for _ in range(20):
                connection = stack.enter_context(Connection(nodes[0].ready["http"]))
                connection.send(request("GET", "/", "parked.localhost"))
            until(lambda: numbers(nodes[0], "parked").get("parked") == 20, "all are parked")
        until(lambda: numbers(nodes[0], "parked").get("gone") == 20, "all are noticed to have left", 3)
        assert numbers(nodes[0], "parked")["parked"] == 0
    finally:
        for node in nodes[1:]:
            node.process.send_signal(signal.SIGCONT)
    assert get(nodes[0], "parked").status == 200
