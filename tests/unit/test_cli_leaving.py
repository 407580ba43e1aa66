"""``falak leave`` and ``falak drain``: what is asked of the node, and what people are told."""

import json

import pytest

from falak.cli.main import main

NODE = {"name": "n1", "id": "1", "addresses": [], "http": "127.0.0.1:1", "ticket": "t"}


def test_leave_waits_until_the_node_is_gone(stub, capsys):
    stub.done("node", NODE)
    stub.answers["leave"] = [json.dumps({"done": {}}).encode() + b"\n"]
    asked = stub._answer

    def answer(connection):
        asked(connection)
        if stub.asked[-1].get("op") == "leave":
            (stub.folder / "control.sock").unlink()

    stub._answer = answer
    assert main(["leave"]) == 0
    assert capsys.readouterr().out == "n1 left\n"
    assert [request["op"] for request in stub.asked[:2]] == ["node", "leave"]


@pytest.mark.parametrize(
    ("words", "undo", "told"),
    [
        (["drain", "n2"], False, "n2 is drained: 3 copies ended\n"),
        (["drain", "n2", "--undo"], True, "n2 takes copies again\n"),
    ],
)
def test_drain(stub, capsys, words, undo, told):
    stub.done("drain", {"node": "n2", "state": "draining", "copies": 3})
    assert main(words) == 0
    assert capsys.readouterr().out == told
    (asked,) = [request for request in stub.asked if request["op"] == "drain"]
    assert (asked["node"], asked["undo"]) == ("n2", undo)


def test_drain_wants_a_node(stub, capsys):
    assert main(["drain"]) == 2
    assert "NODE is missing" in capsys.readouterr().err and stub.asked == []
