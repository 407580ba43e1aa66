"""The client against a socket that answers what a test says: framing, deadlines, errors with a way on."""

import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from falak.client import Client, NoNode, Stream
from falak.errors import OperatorError
from tests.unit.node_stub import node_stub


@pytest.fixture
def folder():
    path = Path(tempfile.mkdtemp(prefix="falak-"))  # short: a unix socket's path has 107 bytes
    yield path
    shutil.rmtree(path)


@pytest.fixture
def stub(folder):
    with node_stub(folder) as stub:
        yield stub


def test_a_request_is_one_line_and_the_result_comes_back(stub):
    stub.done("nodes", [{"name": "n1"}])
    assert [row["name"] for row in Client(stub.folder).nodes()] == ["n1"]
    assert stub.asked == [{"v": 1, "op": "nodes"}]


@pytest.mark.parametrize(
    "call, asked",
    [
        (lambda c: c.node(), {"op": "node"}),
        (lambda c: c.ps(0.25), {"op": "ps", "wait_s": 0.25}),
        (lambda c: c.orbits(), {"op": "orbits"}),
        (lambda c: c.capsules(), {"op": "capsules"}),
        (lambda c: c.why("a"), {"op": "why", "capsule": "a"}),
        (lambda c: c.counters(), {"op": "counters"}),
        (lambda c: c.leave(), {"op": "leave"}),
        (
            lambda c: c.events(after=3, capsule="a", local=True).result,
            {"op": "events", "after": 3, "follow": False, "capsule": "a", "local": True},
        ),
        (lambda c: c.logs("a", after=3).result, {"op": "logs", "capsule": "a", "after": 3, "follow": False}),
        (
            lambda c: c.launch(Path("/c.wasm"), {"name": "a"}, call=False).result,
            {"op": "launch", "path": "/c.wasm", "record": {"name": "a"}, "call": False},
        ),
    ],
)
def test_every_operation_asks_what_it_says(stub, call, asked):
    stub.done(asked["op"], {"it": 1})
    call(Client(stub.folder))
    assert stub.asked == [{"v": 1, **asked}]


def test_items_come_one_by_one_and_then_the_result(stub):
    stub.done("events", {"missing": ["n3"]}, {"n": 1}, {"n": 2})
    with Client(stub.folder).events() as stream:
        assert [item["n"] for item in stream] == [1, 2]
        assert stream.result["missing"] == ["n3"]


def test_lines_may_come_in_pieces_and_together(stub):
    stub.answers["events"] = [b'{"item": {"n":', b' 1}}\n{"item": {"n": 2}}\n{"do', b'ne": {}}\n']
    assert [item["n"] for item in Client(stub.folder).events()] == [1, 2]


def test_the_nodes_own_words_are_raised(stub):
    stub.answers["launch"] = [{"error": {"what": "no component", "hint": "build it", "exit": 4}}]
    with pytest.raises(OperatorError) as caught:
        _ = Client(stub.folder).launch(Path("/x"), {}).result
    assert (caught.value.what, caught.value.hint, caught.value.exit) == ("no component", "build it", 4)


@pytest.mark.parametrize("line", [b"garbage\n", b"[1]\n", b'{"other": 1}\n', b"x" * 1_100_000])
def test_what_is_not_the_protocol_is_refused(stub, line):
    stub.answers["nodes"] = [line]
    with pytest.raises(OperatorError, match="not the control protocol"):
        Client(stub.folder).nodes()


def test_a_node_that_ends_in_between(stub):
    stub.answers["nodes"] = [b'{"item": 1}\n']
    with pytest.raises(OperatorError, match="ended before it had answered nodes"):
        Client(stub.folder).nodes()


def test_every_wait_has_an_end(stub):
    stub.hold_open.set()
    stub.answers["counters"] = []
    with pytest.raises(OperatorError, match=r"did not answer counters within 0.05 s"):
        _ = Stream(stub.folder, "counters", {}, 0.05).result


def test_closing_a_stream_hangs_up(stub):
    stub.hold_open.set()
    stub.answers["events"] = [{"item": {"n": 1}}]
    with Client(stub.folder).events(follow=True) as stream:
        assert next(iter(stream)) == {"n": 1}
    assert stub.client_left.wait(10)


def test_a_request_that_is_too_long_is_not_sent(stub):
    with pytest.raises(OperatorError, match="are the most"):
        Client(stub.folder).launch(Path("/x"), {"name": "x" * 1_100_000})
    assert stub.asked == []


def test_no_node_says_where_it_looked_and_what_to_do(folder):
    with pytest.raises(NoNode, match="no node has run there") as caught:
        Client(folder / "none").nodes()
    assert caught.value.exit == 3
    assert f"falak up --data {folder / 'none'}" in caught.value.hint and "FALAK_DATA" in caught.value.hint
    with pytest.raises(NoNode, match="no node runs there"):
        Client(folder).nodes()


def test_a_node_that_died_left_its_socket(folder):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "control.sock"))
    with pytest.raises(NoNode, match="has ended"):
        Client(folder).nodes()
