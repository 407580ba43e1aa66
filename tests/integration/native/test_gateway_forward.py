"""Requests that another node answers: once, with their bodies, and again elsewhere when that node cannot."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from falak import _native as native
from tests import http1
from tests.integration.native.front import HOST, Front, MakeFront, aot, make_front, rss_bytes, two_fronts

__all__ = ["aot", "make_front", "two_fronts"]
TwoFronts = tuple[Front, Front]
STRANGER = native.peer_id(bytes(32))
"""A peer that nobody is linked to."""


def test_another_node_answers_and_sees_the_client(two_fronts: TwoFronts) -> None:
    entry, holder = two_fronts
    headers = [("X-Forwarded-For", "10.0.0.1"), ("X-Mine", "1")]
    answer = entry.ask("POST", "/echo?q=1", headers=headers, body=b"body", host=f"{HOST}:80")
    head, _, body = answer.text.partition("\n\n")
    assert head.startswith(f"POST /echo?q=1\nauthority: {HOST}:80\n") and body == "body"
    seen = dict(line.split(": ", 1) for line in head.splitlines()[1:])
    assert seen["x-forwarded-for"] == "10.0.0.1, 127.0.0.1" and seen["x-forwarded-host"] == f"{HOST}:80"
    assert not [name for name in seen if name.startswith("falak-")]
    assert (entry.stats()["forwarded"], entry.stats()["requests"]) == (1, 1)
    assert (holder.stats()["forwarded"], holder.stats()["requests"]) == (0, 1)
    for front in two_fronts:
        front.until("in_flight", 0)


def test_failures_of_the_guest_are_its_answers(two_fronts: TwoFronts) -> None:
    entry, _ = two_fronts
    assert entry.get("/trap").status == 500
    assert entry.get("/forge").status == 421 and entry.get("/forge").header("falak-not-here") is None
    answer = entry.ask("GET", "/half")
    assert answer.status == 200 and answer.text == "the first half\n" and not answer.whole
    assert not [event for event in entry.node.waiting if event[0] in (native.NOT_HERE, native.UNREACHABLE)]


def test_trailers_pass_without_being_announced_between_nodes(two_fronts: TwoFronts) -> None:
    entry, _ = two_fronts
    answer = entry.ask("POST", "/echo", chunks=[b"x"], trailers=[("X-Sum", "7")])
    assert answer.text.endswith("xtrailer x-sum: 7\n")
    assert entry.ask("GET", "/trailers", headers=[("TE", "trailers")]).trailers == [("x-sum", "42")]


def test_large_heads_pass(two_fronts: TwoFronts) -> None:
    entry, _ = two_fronts
    answer = entry.get("/wide/100000")
    assert answer.status == 200 and answer.header("x-wide") == "w" * 100_000
    many = [(f"x-{number}", "v" * 100) for number in range(90)]
    assert entry.ask("GET", "/echo", headers=many).text.count("v" * 100) == 90


def test_not_here_is_answered_at_once_and_the_request_goes_on(two_fronts: TwoFronts) -> None:
    entry, holder = two_fronts
    holder.gateway.set_endpoints("probe", [])
    body = bytes(range(256)) * 100
    start = time.monotonic()
    with entry.send("POST", "/echo", body=body) as connection:
        assert entry.node.wait(native.NOT_HERE) == ("probe", holder.node.id)
        assert time.monotonic() - start < 10
        assert entry.node.wait(native.WANTED)[:2] == ("probe", 1)
        entry.serve()
        answer = connection.answer("POST")
    assert answer and answer.status == 200 and answer.body.endswith(b"\n\n" + body)
    assert entry.stats()["not_here"] == 1 and entry.stats()["forwarded"] == 0
    assert holder.stats()["parked_total"] == holder.stats()["requests"] == 0
    assert not [event for event in holder.node.waiting if event[0] == native.WANTED]


def test_a_body_too_large_to_keep_is_not_sent_twice(make_front: MakeFront) -> None:
    entry, holder = make_front(replay_max_bytes=1000), make_front()
    entry.node.dial(holder.node)
    holder.serve()
    local = entry.load()
    entry.forward(holder)
    body = b"x" * (1 << 20)
    assert entry.ask("POST", "/upload", body=body).text == str(len(body)), "kept or not, it goes through"
    holder.gateway.set_endpoints("probe", [])
    seen = set()
    for _ in range(100):  # whether "not here" comes before more than is kept was read, nobody can say
        entry.forward(holder)
        with entry.send("POST", "/upload", body=body) as connection:
            entry.node.wait(native.NOT_HERE)
            entry.gateway.set_endpoints("probe", [("local", str(local), 0)])
            answer = connection.answer("POST")
        assert answer
        seen.add(answer.status)
        if answer.status == 503:
            assert answer.header("retry-after") == "1"
            return
        assert answer.text == str(len(body))
    raise AssertionError(f"never refused: {seen}")


def test_a_forwarded_request_is_never_forwarded_again(make_front: MakeFront) -> None:
    one, two = make_front(), make_front()
    one.node.dial(two.node)
    one.forward(two)
    two.forward(one)
    with one.send("GET", "/hello"):
        one.node.wait(native.NOT_HERE, "probe", two.node.id)
        one.node.wait(native.WANTED, "probe")
        assert two.stats()["requests"] == two.stats()["forwarded"] == one.stats()["forwarded"] == 0


def test_an_unreachable_node_is_told_of_once_and_another_one_tried(two_fronts: TwoFronts) -> None:
    entry, holder = two_fronts
    endpoints = [("node", STRANGER, 0), ("node", holder.node.id, 1000)]
    entry.gateway.set_endpoints("probe", endpoints)
    assert entry.ask("POST", "/upload", body=b"12345").text == "5"
    capsule, peer, why = entry.node.wait(native.UNREACHABLE)
    assert (capsule, peer) == ("probe", STRANGER) and why
    assert entry.get("/hello").status == 200
    assert not [event for event in entry.node.waiting if event[0] == native.UNREACHABLE]


def test_all_endpoints_are_tried_while_there_is_time(two_fronts: TwoFronts) -> None:
    entry, holder = two_fronts
    strangers = [native.peer_id(bytes([number]) * 32) for number in range(1, 4)]
    cheap = [("node", stranger, 0) for stranger in strangers]
    entry.gateway.set_endpoints("probe", [*cheap, ("node", holder.node.id, 1 << 40)])
    answer = entry.get("/hello")
    tried = sum(event[0] == native.UNREACHABLE for event in pumped(entry))
    # Of two endpoints drawn the cheaper is taken: the holder only when it is all that is left.
    assert (answer.status, tried) == (200, 3)
    assert entry.get("/hello").status == 200


def pumped(front: Front) -> list[tuple[object, ...]]:
    front.node.pump(0)
    return front.node.waiting


def test_a_node_lost_with_a_request(two_fronts: TwoFronts) -> None:
    entry, holder = two_fronts
    with entry.send("GET", "/wait/3000") as safe, entry.send("POST", "/wait/3000", body=b"x") as unsafe:
        holder.until("in_flight", 2)
        entry.node.mesh.disconnect(holder.node.id)
        answer = unsafe.answer("POST")
        assert answer and answer.status == 502 and "failed while it had the request" in answer.text
        assert entry.node.wait(native.UNREACHABLE)[:2] == ("probe", holder.node.id)
        entry.node.wait(native.WANTED, "probe")
        entry.serve()
        answer = safe.answer()
        assert answer and answer.text == "hello\n", "what changes nothing is tried again"
    holder.until("in_flight", 0)


def test_a_body_too_large_to_keep_is_not_sent_twice_after_a_loss(make_front: MakeFront) -> None:
    entry, holder = make_front(replay_max_bytes=1000), make_front()
    entry.node.dial(holder.node)
    holder.serve()
    entry.forward(holder)
    with entry.send("PUT", "/wait/3000", body=b"x" * 2000) as connection:
        holder.until("in_flight", 1)
        entry.node.mesh.disconnect(holder.node.id)
        answer = connection.answer("PUT")
    assert answer and answer.status == 502


def test_a_client_that_leaves_ends_its_guest_elsewhere(two_fronts: TwoFronts) -> None:
    entry, holder = two_fronts
    with entry.send("GET", "/wait/4000"):
        holder.until("in_flight", 1)
    for front in two_fronts:
        front.until("in_flight", 0, within_s=1.0)


def test_headers_between_nodes_mean_nothing_from_outside(two_fronts: TwoFronts) -> None:
    _, holder = two_fronts
    for front in two_fronts:
        answer = front.ask("GET", "/hello", headers=[("Falak-Capsule", "other"), ("Falak-Not-Here", "1")])
        assert answer.status == 200
    assert holder.stats()["requests"] == 2


def test_many_at_once_share_a_few_streams(make_front: MakeFront) -> None:
    entry, holder = make_front(forward_idle_streams=2), make_front(instances_max=500)
    entry.node.dial(holder.node)
    holder.serve(wall_ms=60_000)
    entry.forward(holder)
    with ExitStack() as stack:
        sent = [stack.enter_context(entry.send("GET", "/wait/500")) for _ in range(300)]
        holder.until("in_flight", 300)
        assert {answer and answer.status for answer in map(http1.Connection.answer, sent)} == {200}
    assert entry.get("/hello").status == 200


def test_large_bodies_stream_in_bounded_memory(two_fronts: TwoFronts) -> None:
    entry, holder = two_fronts
    holder.serve(cpu_ms=60_000, wall_ms=60_000)
    chunk = b"x" * 65536
    before = rss_bytes()
    sent = httpx.post(
        f"http://{entry.http}/upload", content=(chunk for _ in range(1600)), headers={"Host": HOST}
    )
    assert sent.text == str(1600 * len(chunk))
    with httpx.stream("GET", f"http://{entry.http}/stream/25600", headers={"Host": HOST}) as answer:
        got = sum(map(len, answer.iter_raw()))
    assert got == 25600 * 4096
    assert rss_bytes() - before < 32 << 20


def test_a_slow_reader_holds_its_guest_back_and_nobody_else(two_fronts: TwoFronts) -> None:
    entry, holder = two_fronts
    holder.serve(cpu_ms=60_000, wall_ms=60_000)
    before = rss_bytes()
    with ExitStack() as stack:
        slow = [stack.enter_context(entry.send("GET", "/stream/25600")) for _ in range(20)]
        for connection in slow:
            connection.until(b"xxxx")
        with ThreadPoolExecutor(4) as pool:
            assert {answer.status for answer in pool.map(lambda _: entry.get("/hello"), range(100))} == {200}
        assert rss_bytes() - before < 64 << 20
        answer = slow[0].answer()
        assert answer and answer.whole and len(answer.body) == 25600 * 4096


@pytest.mark.parametrize("version", [1, 2])
def test_an_http2_client_is_forwarded_too(two_fronts: TwoFronts, version: int) -> None:
    entry, _ = two_fronts
    with httpx.Client(http1=version == 1, http2=version == 2) as client:
        answers = [
            client.get(f"http://{entry.http}/status/{status}", headers={"Host": HOST}) for status in (201, 404)
        ]
    assert [answer.status_code for answer in answers] == [201, 404]
