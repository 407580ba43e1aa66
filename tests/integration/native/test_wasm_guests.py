"""Guests that behave badly, what they are given, and what is kept of them."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from falak import _native as native
from tests import http1
from tests.integration.native.front import HOST, LIMITS, PROBE, Front, MakeFront, aot, front, make_front

__all__ = ["aot", "front", "make_front"]
MEBIBYTE = 1 << 20


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/trap", "unreachable"),
        ("/nothing", "ended without an answer"),
        ("/error", "the guest's own reason"),
        ("/memory", f"memory limit of {16 * MEBIBYTE} bytes"),
    ],
)
def test_a_guest_that_fails_is_500_and_its_log_says_why(front: Front, path: str, line: str) -> None:
    answer = front.get(path)
    assert answer.status == 500
    assert answer.text == "falak: probe failed; `falak logs probe` says why\n", "strangers learn no more"
    front.logged(line)
    assert {stream for _, _, stream, _ in front.gateway.logs("probe", 0)} == {"stderr"}
    assert front.stats()["traps"] == (path in ("/trap", "/memory")) and front.stats()["timeouts"] == 0
    assert front.get("/hello").status == 200


def test_a_trap_is_logged_with_the_functions_that_led_to_it(front: Front) -> None:
    front.get("/trap")
    assert "handle" in front.logged("0:")


@pytest.mark.parametrize(
    ("path", "limits", "line"),
    [
        ("/loop", {"cpu_ms": 100}, "CPU limit of 100 ms"),
        ("/spin/60000", {"cpu_ms": 100}, "CPU limit of 100 ms"),
        ("/wait/60000", {"wall_ms": 100}, "more than its 100 ms"),
        ("/loop", {"wall_ms": 100, "cpu_ms": 60_000}, "time limit"),
    ],
)
def test_a_guest_out_of_time_is_504(
    make_front: MakeFront, path: str, limits: dict[str, Any], line: str
) -> None:
    front = make_front()
    front.serve(**limits)
    start = time.monotonic()
    answer = front.get(path)
    assert answer.status == 504 and "probe took more time than its limit" in answer.text
    assert 0.1 <= time.monotonic() - start < 10
    front.logged(line)
    assert (front.stats()["timeouts"], front.stats()["traps"]) == (1, 0)


@pytest.mark.parametrize("path", ["/half", "/half/loop", "/half/wait"])
def test_half_an_answer_does_not_look_whole(make_front: MakeFront, path: str) -> None:
    front = make_front()
    front.serve(cpu_ms=100, wall_ms=300)
    answer = front.get(path)
    assert answer.status == 200 and answer.text == "the first half\n" and not answer.whole
    stats = front.stats()
    assert (stats["traps"], stats["timeouts"]) == ((1, 0) if path == "/half" else (0, 1))


def test_a_failure_after_the_answer_harms_only_the_guest(front: Front) -> None:
    answer = front.get("/after")
    assert answer.whole and answer.text == "all of it\n"
    front.until("traps", 1)


def test_waiting_costs_no_cpu_time(make_front: MakeFront) -> None:
    front = make_front()
    front.serve(cpu_ms=50)
    assert front.get("/wait/400").status == 200


def test_every_request_has_a_fresh_instance(front: Front) -> None:
    assert front.ask("POST", "/upload", body=b"12345").text == "5"
    with front.send("POST", "/upload", body=b"1234567") as connection:
        assert connection.answer("POST")
        connection.send(http1.request("POST", "/upload", HOST, body=b"123"))
        answer = connection.answer("POST")
    assert answer and answer.text == "3"


def test_more_instances_than_the_bound_are_refused(make_front: MakeFront) -> None:
    front = make_front(instances_max=2)
    front.serve()
    with ExitStack() as stack:
        waiting = [stack.enter_context(front.send("GET", "/wait/1000")) for _ in range(2)]
        front.until("in_flight", 2)
        answer = front.get("/hello")
        assert answer.status == 503 and answer.header("retry-after") == "1"
        assert "no room for another instance of probe" in answer.text
        assert {answer and answer.status for answer in map(http1.Connection.answer, waiting)} == {200}
    assert front.get("/hello").status == 200


def test_busy_guests_are_bounded_and_harm_nobody(make_front: MakeFront) -> None:
    front = make_front(heavy_max=2, slice_ms=5)
    front.serve(cpu_ms=60_000, wall_ms=2000)
    with ExitStack() as stack:
        busy = [stack.enter_context(front.send("GET", "/loop")) for _ in range(3)]
        front.logged("too many guests run past their slice")
        took = []
        for _ in range(100):
            start = time.monotonic()
            assert front.get("/hello").status == 200
            took.append(time.monotonic() - start)
        assert sorted(took)[50] < 1
        answers = [answer for connection in busy if (answer := connection.answer())]
    ended = sorted((answer.status, answer.header("retry-after") or "") for answer in answers)
    assert ended[0] == (503, "1") and [status for status, _ in ended] == [503, 504, 504]
    assert front.get("/spin/50").status == 200, "there is room again"


def test_a_client_that_leaves_ends_a_busy_guest(make_front: MakeFront) -> None:
    front = make_front(heavy_max=1, slice_ms=5)
    front.serve(cpu_ms=60_000, wall_ms=60_000)
    with front.send("GET", "/loop"):
        front.until("in_flight", 1)
    front.until("in_flight", 0)
    deadline = time.monotonic() + 2
    while front.get("/spin/50").status == 503:  # its place is free as soon as it has noticed
        assert time.monotonic() < deadline


def test_a_guest_gets_its_environment_and_nothing_else(make_front: MakeFront) -> None:
    front = make_front()
    front.serve(env={"GREETING": "hi there", "A": ""})
    assert front.get("/env").text == "A=\nGREETING=hi there\n"


def test_lines_are_kept_whole_and_in_order(front: Front) -> None:
    start = time.time()
    front.get("/stdout")
    front.logged("no newline at the end")
    lines = front.gateway.logs("probe", 0)
    assert [line[0] for line in lines] == [1, 2, 3, 4, 5]
    assert [line[2:] for line in lines] == [
        ("stdout", "first line"),
        ("stderr", "a complaint"),
        ("stdout", "second line"),
        ("stdout", "w" * 1000),
        ("stdout", "no newline at the end"),
    ]
    assert all(start - 1 < line[1] < time.time() + 1 for line in lines)
    assert front.gateway.logs("probe", 3) == lines[3:]
    assert front.gateway.logs("unknown", 0) == []


def test_old_lines_go(make_front: MakeFront) -> None:
    front = make_front(log_lines_max=7, log_line_max_bytes=10)
    front.serve()
    for _ in range(3):
        front.get("/stdout")
    front.logged("no newline")
    lines = front.gateway.logs("probe", 0)
    assert [line[0] for line in lines] == list(range(9, 16))
    assert max(len(line[3]) for line in lines) == 10


def test_a_guest_calls_only_who_is_listed(make_front: MakeFront) -> None:
    callee, caller = make_front(), make_front()
    callee.serve()
    port = callee.http.rpartition(":")[2]
    callee.gateway.set_routes([("localhost", "/", "probe")])
    caller.serve(outgoing=[f"localhost:{port}"])
    answer = caller.get(f"/outgoing?localhost:{port}/status/418")
    assert (answer.status, answer.text) == (418, "status\n")
    assert caller.get(f"/outgoing?localhost:{port}/stream/100").body == b"x" * 409600
    for denied in (f"127.0.0.1:{port}/", "localhost:1/", "elsewhere.test/"):
        answer = caller.get(f"/outgoing?{denied}")
        assert (answer.status, answer.text) == (502, "error-code 15\n"), "HTTP-request-denied"
    assert "refused: the capsule's outgoing list does not name" in caller.logged("http://elsewhere.test/")


def test_loading_says_what_is_wrong(front: Front, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.cwasm"
    garbage.write_bytes(b"not machine code")
    for path, text in (
        (tmp_path / "none.cwasm", "no such AOT file"),
        (garbage, "compile again"),
        (PROBE, "compile again"),
    ):
        front.gateway.load(99, "probe", str(path), **LIMITS)
        number, ok, _, why = front.node.wait(native.LOADED)
        assert (number, ok) == (99, False) and str(path) in why and text in why
    with pytest.raises(ValueError, match="instance 1 is loaded"):
        front.gateway.load(1, "probe", str(front.aot), **LIMITS)
    for name in ("memory_bytes", "cpu_ms", "wall_ms"):
        with pytest.raises(ValueError, match=name):
            front.gateway.load(99, "probe", str(front.aot), **(LIMITS | {name: 0}))


def test_loads_beyond_the_bound_are_refused(make_front: MakeFront) -> None:
    front = make_front(command_capacity=1)
    with pytest.raises(BlockingIOError):
        for number in range(100, 1100):
            front.gateway.load(number, "probe", str(front.aot), **LIMITS)


def test_a_copy_that_is_forgotten_ends_its_requests_first(front: Front) -> None:
    with front.send("GET", "/wait/300") as connection:
        front.until("in_flight", 1)
        front.gateway.set_endpoints("probe", [])
        front.gateway.unload(1)
        answer = connection.answer()
    assert answer and answer.text == "hello\n"
    with pytest.raises(ValueError, match="not loaded"):
        front.gateway.set_endpoints("probe", [("local", "1", 0)])
    front.gateway.load(1, "probe", str(front.aot), **LIMITS)
    assert front.node.wait(native.LOADED, 1)[1]


def test_copies_share_one_mapping_and_have_their_own_limits(front: Front) -> None:
    numbers = [front.load(wall_ms=100), front.load()]
    for number, status in zip(numbers, (504, 200), strict=True):
        front.gateway.set_endpoints("probe", [("local", str(number), 0)])
        assert front.get("/wait/200").status == status
    before = mapped(front.aot)
    front.load()
    assert before and mapped(front.aot) <= before, "one more copy, no mapping more"


def mapped(file: Path) -> set[str]:
    """Addresses at which a file is mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {line.split()[0] for line in lines if str(file) in line}
