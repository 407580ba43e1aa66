"""The contract for scripts, with five real nodes: every verb, its JSON, its exit codes, the ready file."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.nodes import ROOT, Mesh, Running, until

COMMAND_S = 60.0


def falak(*words: str, data: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command, as a script runs it; the node is named by ``FALAK_DATA``."""
    environ = os.environ | ({"FALAK_DATA": str(data)} if data else {})
    return subprocess.run(
        [sys.executable, "-m", "falak", *words],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )


def done(*words: str, data: Path | None = None) -> str:
    """The same, which must succeed: what it printed."""
    run = falak(*words, data=data)
    assert run.returncode == 0, f"falak {' '.join(words)}: {run.stdout}{run.stderr}"
    return run.stdout


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Running]]:
    """Five nodes that differ in what the flags of ``up`` can say, and a capsule that has answered."""
    mesh = Mesh(tmp_path_factory.mktemp("c"))
    try:
        flags = "--zone a --tag ssd --tag big --orbit default --orbit gpu"
        first = mesh.up("n1", *flags.split())
        others = [mesh.up(f"n{number}", "--zone", "b") for number in range(2, 6)]
        five = [first, *others]
        mesh.settle(five)
        done("launch", str(ROOT / "examples" / "hello"), data=first.data)
        yield five
    finally:
        wrong = mesh.end()
    assert not wrong, "\n".join(wrong)


def test_the_ready_file(nodes):
    for node in nodes:
        assert {"id", "name", "addresses", "http", "ticket"} <= set(node.ready)
        assert node.ready["name"] == node.name
        host, _, port = node.ready["http"].rpartition(":")
        assert host == "127.0.0.1" and int(port) > 0
        assert all(address.startswith("/ip4/127.0.0.1/tcp/") for address in node.ready["addresses"])


def test_nodes(nodes):
    for node in nodes:
        rows = json.loads(done("nodes", "--json", data=node.data))
        assert sorted(row["name"] for row in rows) == ["n1", "n2", "n3", "n4", "n5"]
        assert {row["state"] for row in rows} == {"alive"} and {row["cluster"] for row in rows} == {"main"}
        assert [row["name"] for row in rows if row["self"]] == [node.name]
    first = next(row for row in rows if row["name"] == "n1")
    assert (first["zone"], first["tags"], first["orbits"]) == ("a", ["ssd", "big"], ["default", "gpu"])
    assert first["id"] == nodes[0].ready["id"] and first["rtt_ms"] > 0


def test_ps_covers_the_mesh_from_every_node(nodes):
    for node in nodes:
        copy = until(
            partial(only_copy, node.data), f"{node.name} lists one copy, once candidates that lost are gone"
        )
        assert copy["state"] == "active" and copy["slot"] == 0
        assert copy["node"] in {"n1", "n2", "n3", "n4", "n5"} and copy["version"] == "1.0.0"
        assert copy["requests"] >= 1 and copy["load_ms"] > 0


def only_copy(data: Path) -> Any:
    """The row of the one copy of hello, or nothing while there are others."""
    copies = [row for row in json.loads(done("ps", "--json", data=data)) if row["capsule"] == "hello"]
    return copies[0] if len(copies) == 1 else None


def test_capsules_and_orbits(nodes):
    for node in nodes:
        rows = json.loads(done("capsules", "--json", data=node.data))
        row = next(row for row in rows if row["name"] == "hello")
        assert (row["version"], row["generation"], row["orbit"]) == ("1.0.0", 1, "default")
        assert (row["kind"], row["runtime"], row["publisher"]) == ("function", "wasm", "n1")
        assert len(row["keepers"]) == 3 and row["size_bytes"] > 6000 and row["hosts"] == ["hello.localhost"]
    orbits = {row["orbit"]: row for row in json.loads(done("orbits", "--json", data=nodes[1].data))}
    assert orbits["gpu"]["watchers"] == ["n1"] and orbits["gpu"]["watched"] is False
    assert orbits["default"]["watched"] is True and orbits["default"]["capsules"] == ["hello"]


def test_events(nodes):
    told = lines(done("events", "--json", data=nodes[2].data))
    assert [event["at"] for event in told] == sorted(event["at"] for event in told)
    assert {event["node"] for event in told} == {"n1", "n2", "n3", "n4", "n5"}
    seen = {event["event"] for event in told}
    assert {"node.join", "capsule.announced", "election.called", "election.proposed", "election.ack"} <= seen
    assert {"election.won", "momentum.started", "request.answered"} <= seen
    won = next(event for event in told if event["event"] == "election.won")
    assert len(won["acks"]) >= 3 and won["electors"] == 5
    same = {event["event"] for event in told if event["cause"] == won["cause"]}
    assert {"request.parked", "election.called", "momentum.started"} <= same
    local = lines(done("events", "--json", "--local", "--capsule", "hello", data=nodes[2].data))
    assert {event["node"] for event in local} == {"n3"} and {event["capsule"] for event in local} == {"hello"}
    assert all(
        e["n"] > 1 for e in lines(done("events", "--json", "--local", "--after", "1", data=nodes[2].data))
    )


def test_events_can_be_followed(nodes):
    command = [sys.executable, "-m", "falak", "events", "--json", "--follow", "--data", str(nodes[3].data)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout
        try:
            assert json.loads(follower.stdout.readline())["event"]
            done("launch", str(ROOT / "examples/hello/hello.wasm"), "--name", "followed", data=nodes[0].data)
            for line in follower.stdout:
                event = json.loads(line)
                if event["event"] == "election.won" and event["capsule"] == "followed":
                    break
        finally:
            follower.terminate()


def test_why(nodes):
    told = done("why", "hello", data=nodes[4].data)
    assert "won with" in told and "acked" in told and "ranked" in told and "answered: parked for" in told
    verbose = done("why", "hello", "-v", data=nodes[4].data)
    assert "health 1.00" in verbose and "health" not in told
    nothing = falak("why", "nobody", data=nodes[4].data)
    assert nothing.returncode == 1 and "no capsule nobody orbits here" in nothing.stderr


def test_call_reaches_the_capsule_at_every_node(nodes):
    for node in nodes:
        assert done("call", "hello", "/path?q=1", data=node.data).startswith("hello from a capsule: /path")
    missing = falak("call", "nobody", data=nodes[0].data)
    assert missing.returncode == 1 and "HTTP 404" in missing.stderr and "nobody.localhost" in missing.stdout


def test_launch_again_without_and_with_a_change(nodes, tmp_path):
    again = done("launch", str(ROOT / "examples" / "hello"), data=nodes[3].data)
    assert "generation 1 orbits and answers (nothing new" in again
    folder = tmp_path / "changed"
    folder.mkdir()
    (folder / "hello.wasm").write_bytes((ROOT / "examples/hello/hello.wasm").read_bytes())
    (folder / "capsule.toml").write_text(
        'name = "changing"\nversion = "1"\ncomponent = "hello.wasm"\n[env]\nGREETING = "one"\n'
    )
    assert "changing generation 1 orbits, cold" in done("launch", str(folder), "--no-call", data=nodes[2].data)
    text = (folder / "capsule.toml").read_text().replace('"one"', '"two"').replace('"1"', '"2"')
    (folder / "capsule.toml").write_text(text)
    assert "changing generation 2 orbits and answers" in done("launch", str(folder), data=nodes[4].data)
    for node in nodes:
        until(partial(answers, node, "changing.localhost", "two"), f"{node.name} has the new one")


def answers(node: Running, host: str, beginning: str) -> bool:
    return node.request(host)[1].startswith(beginning)


def test_what_is_no_component_is_said(nodes, tmp_path):
    (tmp_path / "x.wasm").write_bytes(b"no component")
    wrong = falak("launch", str(tmp_path / "x.wasm"), data=nodes[0].data)
    assert wrong.returncode == 2 and "x.wasm" in wrong.stderr and "Traceback" not in wrong.stderr


def test_ticket_version_and_tables(nodes):
    assert done("ticket", data=nodes[1].data).strip() == nodes[1].ticket
    assert "node n2 0." in done("version", data=nodes[1].data)
    assert "n5" in done("nodes", data=nodes[1].data) and "active" in done("ps", data=nodes[1].data)
    assert "hello.localhost" in done("capsules", data=nodes[1].data)
    assert "gpu" in done("orbits", data=nodes[1].data)
    assert "election.won" in done("events", data=nodes[1].data)
    assert done("logs", "hello", data=nodes[1].data) == ""


def test_no_node_is_exit_3(tmp_path):
    for verb in ("nodes", "ps", "capsules", "orbits", "events", "ticket"):
        assert falak(verb, "--data", str(tmp_path)).returncode == 3
