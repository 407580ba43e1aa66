"""Requests that nothing can answer yet: who is told, how long they wait, and what ends their waiting."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import h2.config
import h2.connection
import pytest

from falak import _native as native
from tests import http1
from tests.integration.native.front import HOST, Front, MakeFront, aot, make_front

__all__ = ["aot", "make_front"]


@pytest.fixture
def cold(make_front: MakeFront) -> Front:
    """A node whose one route leads to a capsule without a copy."""
    return make_front()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def park(front: Front, stack: ExitStack, count: int = 1, **parts: object) -> list[http1.Connection]:
    """Send requests one after another, each once the one before is parked."""
    sent = []
    for parked in range(count):
        sent.append(stack.enter_context(front.send("GET", "/hello", **parts)))
        front.until("parked", parked + 1, capsule="" if "host" in parts else "probe")
    return sent


def answers(connections: list[http1.Connection]) -> list[int]:
    return [answer.status if (answer := connection.answer()) else 0 for connection in connections]


def test_parked_requests_go_on_once_there_is_a_copy(cold: Front, stack: ExitStack) -> None:
    sent = park(cold, stack, 3)
    key, parked, waited_us = cold.node.wait(native.WANTED)
    assert (key, parked) == ("probe", 1) and waited_us < 1_000_000
    cold.serve()
    assert answers(sent) == [200, 200, 200]
    key, parked_us, total_us = cold.node.wait(native.FIRST_BYTE)
    assert key == "probe" and 0 < parked_us < total_us < 5_000_000
    assert cold.get("/hello").status == 200
    for kind in (native.WANTED, native.FIRST_BYTE, native.FORGONE):
        assert not [event for event in cold.node.waiting if event[0] == kind], "one of each, no more"
    stats = cold.stats()
    assert (stats["parked"], stats["parked_total"], stats["shed"], stats["gone"]) == (0, 3, 0, 0)


def test_a_body_waits_with_its_request(cold: Front, stack: ExitStack) -> None:
    body = bytes(range(256)) * 2000
    with cold.send("POST", "/echo", body=body) as connection:
        cold.node.wait(native.WANTED)
        cold.serve()
        answer = connection.answer("POST")
    assert answer and answer.body.endswith(body)


def test_nothing_waits_longer_than_the_limit(make_front: MakeFront, stack: ExitStack) -> None:
    front = make_front(park_ms=300)
    start = time.monotonic()
    (connection,) = park(front, stack)
    answer = connection.answer()
    assert answer and answer.status == 503 and answer.header("retry-after") == "1"
    assert "nothing could answer for probe within 300 ms" in answer.text
    assert 0.3 <= time.monotonic() - start < 10
    front.node.wait(native.WANTED, "probe")
    front.node.wait(native.FORGONE, "probe")
    connection.send(http1.request("GET", "/hello", HOST))
    front.node.wait(native.WANTED, "probe")


@pytest.mark.parametrize(
    ("settings", "fitting"),
    [({"park_count_max": 2}, 2), ({"park_total_max": 3}, 3), ({"park_bytes_max": 900}, 4)],
)
def test_a_request_beyond_a_bound_is_shed(
    make_front: MakeFront, stack: ExitStack, settings: dict[str, int], fitting: int
) -> None:
    front = make_front(**settings)
    sent = park(front, stack, fitting)
    answer = front.get("/hello")
    assert answer.status == 503 and answer.header("retry-after") == "1"
    assert "too many requests wait for probe" in answer.text
    assert front.stats()["shed"] == 1
    front.serve()
    assert answers(sent) == [200] * fitting


def test_more_keys_than_the_bound_are_shed(make_front: MakeFront, stack: ExitStack) -> None:
    front = make_front(keys_max=2)
    for number in range(2):
        stack.enter_context(front.send("GET", "/", host=f"h{number}.test"))
        front.node.wait(native.WANTED, f"host/h{number}.test", 1)
    assert front.get("/", "h2.test").status == 503
    assert front.stats("")["shed"] == 1
    stack.enter_context(front.send("GET", "/", host="h1.test"))
    front.until("parked", 3, capsule="")


def test_a_client_that_leaves_is_noticed(cold: Front, stack: ExitStack) -> None:
    body = http1.request("POST", "/upload", HOST, body=b"x" * 1000)
    twice = http1.request("GET", "/hello", HOST) * 2
    sent = [http1.request("GET", "/hello", HOST), body[:-1], body, twice]
    for parked, data in enumerate(sent, 1):
        connection = stack.enter_context(http1.Connection(cold.http))
        connection.send(data)
        cold.until("parked", parked)
    cold.node.wait(native.WANTED, "probe", 1)
    start = time.monotonic()
    stack.close()
    cold.until("parked", 0)
    assert time.monotonic() - start < 5
    assert cold.node.wait(native.FORGONE) == ("probe",)
    assert cold.stats()["gone"] == len(sent)


def test_an_http2_client_that_leaves_is_noticed(cold: Front, stack: ExitStack) -> None:
    client = h2.connection.H2Connection(h2.config.H2Configuration())
    client.initiate_connection()
    head = [(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", "/hello")]
    for stream in (1, 3):
        client.send_headers(stream, head, end_stream=True)
    with http1.Connection(cold.http) as connection:
        connection.send(client.data_to_send())
        cold.until("parked", 2)
        client.reset_stream(1)
        connection.send(client.data_to_send())
        cold.until("gone", 1)
        assert cold.stats()["parked"] == 1
    cold.until("gone", 2)
    cold.node.wait(native.FORGONE, "probe")


def test_a_host_that_no_route_matches_waits_for_one(cold: Front, stack: ExitStack) -> None:
    (connection,) = park(cold, stack, host="New.test:8080")
    assert cold.node.wait(native.WANTED)[:2] == ("host/new.test", 1)
    cold.serve()
    cold.gateway.set_routes([("new.test", "/elsewhere", "probe")])
    cold.gateway.retry("host/new.test")
    assert cold.stats("")["parked"] == 1, "its path has no route yet"
    cold.gateway.set_routes([("new.test", "/", "probe")])
    cold.gateway.retry("host/new.test")
    answer = connection.answer()
    assert answer and answer.status == 200
    assert cold.node.wait(native.FIRST_BYTE)[0] == "host/new.test"
    assert cold.stats()["requests"] == 1 and cold.stats("")["requests"] == 0
    assert cold.stats("")["parked_total"] == 1


def test_a_route_without_a_copy_parks_again_under_the_capsule(cold: Front, stack: ExitStack) -> None:
    (connection,) = park(cold, stack, host="new.test")
    cold.node.wait(native.WANTED, "host/new.test")
    cold.gateway.set_routes([("new.test", "/", "probe")])
    cold.gateway.retry("host/new.test")
    assert cold.node.wait(native.WANTED)[0] == "probe"
    cold.serve()
    answer = connection.answer()
    assert answer and answer.status == 200
    told = {cold.node.wait(native.FIRST_BYTE)[0], cold.node.wait(native.FIRST_BYTE)[0]}
    assert told == {"host/new.test", "probe"}
    assert not [event for event in cold.node.waiting if event[0] == native.FORGONE]


def test_refused_requests_hear_the_reason(cold: Front, stack: ExitStack) -> None:
    known = park(cold, stack, 2)
    (unknown,) = park(cold, stack, host="nobody.test")
    cold.gateway.refuse("probe", 503, "no node has 8 GiB free for probe", 7)
    for connection in known:
        answer = connection.answer()
        assert answer and answer.status == 503 and answer.header("retry-after") == "7"
        assert answer.text == "no node has 8 GiB free for probe\n"
    cold.gateway.refuse("host/nobody.test", 404, "no capsule has the host nobody.test", 0)
    answer = unknown.answer()
    assert answer and answer.status == 404 and answer.header("retry-after") is None
    assert cold.stats()["responses"]["5xx"] == 2 and cold.stats("")["responses"]["4xx"] == 1
    assert not [event for event in cold.node.waiting if event[0] in (native.FORGONE, native.FIRST_BYTE)]
    cold.node.wait(native.WANTED, "probe")
    known[0].send(http1.request("GET", "/hello", HOST))
    cold.node.wait(native.WANTED, "probe", 1)


def test_no_endpoints_means_to_ask_again(cold: Front, stack: ExitStack) -> None:
    park(cold, stack)
    cold.node.wait(native.WANTED, "probe", 1)
    cold.gateway.set_endpoints("probe", [])
    stack.enter_context(cold.send("GET", "/hello"))
    key, parked, waited_us = cold.node.wait(native.WANTED)
    assert (key, parked) == ("probe", 2) and waited_us > 0


def test_a_thousand_at_once_are_one_event_and_all_answered(make_front: MakeFront, stack: ExitStack) -> None:
    front = make_front(park_count_max=1000, park_total_max=1000, connections_max=1100, instances_max=1000)
    sent = [stack.enter_context(front.send("GET", "/hello")) for _ in range(1000)]
    front.until("parked", 1000)
    assert front.node.wait(native.WANTED, "probe")
    front.serve()
    assert set(answers(sent)) == {200}
    assert not [event for event in front.node.waiting if event[0] == native.WANTED]
