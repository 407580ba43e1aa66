"""Requests that are answered here: HTTP/1.1 and h2c, routes, what guests see of a request, the counters."""

import re
from collections.abc import Iterator

import httpx
import pytest

from falak import _native as native
from tests import http1
from tests.integration.native.front import HOST, Front, MakeFront, aot, front, make_front

__all__ = ["aot", "front", "make_front"]


@pytest.fixture
def h2(front: Front) -> Iterator[httpx.Client]:
    """An HTTP/2 client with prior knowledge."""
    with httpx.Client(
        http1=False, http2=True, base_url=f"http://{front.http}", headers={"Host": HOST}
    ) as client:
        yield client


def echoed(answer: http1.Answer) -> dict[str, str]:
    """The headers that an echoing guest saw, by name."""
    head = answer.text.partition("\n\n")[0].splitlines()[1:]
    return dict(line.split(": ", 1) for line in head)


def test_requests_on_one_connection_are_answered_in_order(front: Front) -> None:
    paths = ["/status/201", "/hello", "/status/404"]
    with http1.Connection(front.http) as connection:
        connection.send(b"".join(http1.request("GET", path, HOST) for path in paths))
        answers = [connection.answer() for _ in paths]
    assert [answer and answer.status for answer in answers] == [201, 200, 404]


def test_http2_is_spoken_on_the_same_port(front: Front, h2: httpx.Client) -> None:
    answer = h2.post("/echo", content=b"body")
    assert answer.http_version == "HTTP/2"
    assert answer.text.startswith(f"POST /echo\nauthority: {HOST}\n") and answer.text.endswith("\n\nbody")
    assert h2.get("/status/418").status_code == 418


def test_a_body_streams_both_ways_at_once(front: Front) -> None:
    whole = http1.request("POST", "/echo", HOST, chunks=[b"first", b"second"])
    head, mark, rest = whole.partition(b"6\r\nsecond")
    with http1.Connection(front.http) as connection:
        connection.send(head)
        connection.until(b"first")
        connection.send(mark + rest)
        answer = connection.answer("POST")
    assert answer and answer.body.endswith(b"firstsecond")


def test_trailers_pass_both_ways(front: Front, h2: httpx.Client) -> None:
    answer = front.ask("POST", "/echo", chunks=[b"x"], trailers=[("X-Sum", "7")])
    assert answer.text.endswith("xtrailer x-sum: 7\n")
    answer = front.ask("GET", "/trailers", headers=[("TE", "trailers")])
    assert answer.trailers == [("x-sum", "42")]
    assert h2.get("/trailers").text == "body\n"


def test_routes_choose_by_host_and_the_longest_prefix(make_front: MakeFront) -> None:
    front = make_front()
    for capsule in ("root", "api"):
        front.serve(capsule, env={"NAME": capsule})
    front.gateway.set_routes([("a.test", "/", "root"), ("a.test", "/env/api", "api"), ("b.test", "/", "api")])
    assert front.get("/env", "a.test").text == "NAME=root\n"
    assert front.get("/env/api/x?y=/", "A.Test:8080").text == "NAME=api\n"
    assert front.get("/env/apis", "a.test").text == "NAME=root\n"
    assert front.get("/env", "b.test").text == "NAME=api\n"
    front.gateway.set_routes([("a.test", "/", "api")])
    assert front.get("/env", "a.test").text == "NAME=api\n"


def test_a_guest_learns_who_asked_and_how(front: Front) -> None:
    sent = [("X-Forwarded-For", "10.0.0.1"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "other.test")]
    seen = echoed(front.ask("GET", "/echo", headers=sent, host=f"{HOST}:80"))
    assert seen["x-forwarded-for"] == "10.0.0.1, 127.0.0.1"
    assert (seen["x-forwarded-proto"], seen["x-forwarded-host"]) == ("http", f"{HOST}:80")
    assert seen["authority"] == f"{HOST}:80"
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", seen["traceparent"])
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
    assert echoed(front.ask("GET", "/echo", headers=[("traceparent", trace)]))["traceparent"] == trace


def test_what_is_between_two_neighbours_stays_between_them(front: Front) -> None:
    sent = "Connection: keep-alive, x-mine;X-Mine: 1;Keep-Alive: 5;Proxy-Authorization: x;TE: gzip, trailers"
    pairs = [(name, value) for name, _, value in (line.partition(": ") for line in sent.split(";"))]
    inside = [("Falak-Capsule", "probe"), ("falak-not-here", "1"), ("X-Stays", "2")]
    seen = echoed(front.ask("GET", "/echo", headers=pairs + inside))
    assert set(seen) == {"authority", "te", "x-stays", "traceparent"} | {
        f"x-forwarded-{what}" for what in ("for", "host", "proto")
    }
    assert seen["te"] == "trailers"
    answer = front.ask("GET", "/forge")
    assert (
        answer.status == 421 and answer.header("falak-not-here") is None and answer.header("x-mine") == "kept"
    )


def test_everything_is_counted(front: Front) -> None:
    for path in ("/hello", "/status/204", "/status/302", "/status/404", "/trap"):
        front.get(path)
    stats = front.stats()
    assert stats["requests"] == 5
    assert stats["responses"] == {"1xx": 0, "2xx": 2, "3xx": 1, "4xx": 1, "5xx": 1}
    assert sum(stats["latency"]) == 5 and len(stats["latency"]) == len(native.LATENCY_BUCKETS_US) + 1
    assert stats["traps"] == 1 and stats["timeouts"] == stats["forwarded"] == stats["parked_total"] == 0
    assert 0 < stats["last_us_ago"] < 5_000_000
    front.until("in_flight", 0)
    stray = front.stats("")
    assert stray["connections"] == 5 and stray["bad_requests"] == 0 and stray["last_us_ago"] is None


def test_a_request_in_flight_is_counted_to_the_end_of_its_body(front: Front) -> None:
    with front.send("GET", "/half/wait") as connection:
        connection.until(b"the first half")
        assert front.stats()["in_flight"] == 1
    front.until("in_flight", 0)


def test_capsules_without_routes_and_endpoints_are_forgotten(front: Front) -> None:
    front.get("/hello")
    front.gateway.set_endpoints("probe", [])
    front.gateway.set_routes([("other.test", "/", "other")])
    assert set(front.gateway.stats()) == {"", "other"}
