"""One node as a process: it serves, it refuses to start where it cannot, it ends clean, it comes back."""

import json
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from falak.errors import OperatorError
from tests.nodes import HELLO, ROOT, Mesh, Running, until

PANIC = """
import sys
from falak.cli.main import main
from falak.daemon.wiring import NodeProcess
from falak.seam import Fatal
begin = NodeProcess.begin
async def begin_and_panic(self, tickets):
    await begin(self, tickets)
    self._route(Fatal("native code panicked at x.rs:1: boom"))
NodeProcess.begin = begin_and_panic
sys.exit(main(["up", *sys.argv[1:]]))
"""


def refused(*flags: str) -> tuple[int, str]:
    """Exit code and standard error of a ``falak up`` that does not start."""
    run = subprocess.run(
        [sys.executable, "-m", "falak", "up", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return run.returncode, run.stderr


def flags(folder: Path, listen: str = "/ip4/127.0.0.1/tcp/0", http: str = "127.0.0.1:0") -> list[str]:
    return ["--name", "other", "--data", str(folder), "--listen", listen, "--http", http]


def test_a_capsule_launched_at_one_node_answers(mesh: Mesh) -> None:
    node = mesh.up("n1")
    with node.client.launch(HELLO, {"name": "hello"}) as stages:
        told = [stage["stage"] for stage in stages]
        launched: Any = stages.result
    assert told == ["taken", "checked", "kept", "called"]
    assert launched["generation"] == 1 and launched["changed"] and launched["answered"]["status"] == 200
    assert launched["url"] == f"http://hello.localhost:{node.ready['http'].rpartition(':')[2]}/"
    status, body = node.request("hello.localhost")
    assert (status, body) == (200, body) and body
    (row,) = node.client.ps()["rows"]
    assert (row["capsule"], row["node"], row["slot"], row["state"]) == ("hello", "n1", 0, "active")
    assert row["requests"] >= 2 and row["errors"] == 0 and row["load_ms"] > 0 and row["p50_ms"] > 0
    (capsule,) = node.client.capsules()
    assert (capsule["name"], capsule["artifact"], capsule["kept_here"]) == ("hello", "prepared", True)
    story = node.client.why("hello")
    assert next(event["event"] for event in story["events"]) == "request.parked"
    assert {"election.won", "momentum.started", "request.answered"} <= {e["event"] for e in story["events"]}
    assert node.client.counters()["loop"]["errors"] == 0


def test_the_same_launch_again_changes_nothing(mesh: Mesh) -> None:
    node = mesh.up("n1")
    node.launch()
    again = node.launch()
    assert (again["generation"], again["changed"]) == (1, False)


def test_a_launch_without_an_answer_says_why_and_the_capsule_orbits(mesh: Mesh) -> None:
    node = mesh.up("n1")
    fields = {"name": "wide", "resources": {"cpu": 1024}}
    with (
        pytest.raises(OperatorError, match=r"did not answer: .*1024 cores") as caught,
        node.client.launch(HELLO, fields) as stages,
    ):
        list(stages)
    assert caught.value.exit == 4
    assert [capsule["name"] for capsule in node.client.capsules()] == ["wide"]


def test_a_file_that_is_no_component_is_refused(mesh: Mesh, tmp_path: Path) -> None:
    node = mesh.up("n1")
    for content, why in ((b"hello", "not"), (b"\0asm\x01\0\0\0", "core WASM module"), (b"", "not")):
        file = tmp_path / "file.wasm"
        file.write_bytes(content)
        with (
            pytest.raises(OperatorError, match=why) as caught,
            node.client.launch(file, {"name": "x"}) as stages,
        ):
            list(stages)
        assert str(file) in caught.value.what and caught.value.exit == 2
    with (
        pytest.raises(OperatorError, match="No such file"),
        node.client.launch(tmp_path / "none", {"name": "x"}) as s,
    ):
        list(s)
    assert not node.client.capsules()
    assert not list((node.data / "artifacts").iterdir())


def test_two_nodes_cannot_use_one_data_folder(mesh: Mesh) -> None:
    node = mesh.up("n1")
    code, said = refused(*flags(node.data))
    assert code == 1
    assert f"another node uses the data folder {node.data} (process {node.process.pid})" in said
    assert node.client.node()["name"] == "n1"


@pytest.mark.parametrize("what", ["mesh", "http"])
def test_a_port_in_use_is_told(tmp_path: Path, what: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        place = {"listen": f"/ip4/127.0.0.1/tcp/{port}"} if what == "mesh" else {"http": f"127.0.0.1:{port}"}
        code, said = refused(*flags(tmp_path / "data", **place))
    assert code == 1
    assert f"{port}" in said and "it is in use" in said and "Traceback" not in said
    assert not (tmp_path / "data" / "lock").exists()


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, said = refused(*flags(tmp_path / "file" / "data"))
    assert code == 1 and "cannot be used" in said and "Traceback" not in said


def test_bad_tickets_are_told(mesh: Mesh, tmp_path: Path) -> None:
    code, said = refused(*flags(tmp_path / "data"), "--join", "falak1nonsense")
    assert code == 2 and "no ticket" in said and "Traceback" not in said
    assert not (tmp_path / "data").exists()
    first, second = mesh.start("n1"), mesh.start("n2")
    for node in (first, second):
        until(node.serves, f"{node.name} serves")
    second.end()
    code, said = refused(*flags(second.data), "--join", first.ticket)
    assert code == 2 and "another mesh" in said


def test_a_mesh_of_another_cluster_or_nobody_there_is_told(mesh: Mesh) -> None:
    first = mesh.up("n1")
    ticket = first.ticket
    assert first.end() == 0
    late = mesh.start("n2", "--join", ticket)
    until(lambda: "no node answers yet" in late.said(), "it says that it tries")
    assert "not joined yet" not in late.said()
    until(lambda: "not joined yet" in late.said(), "it says that nobody answered", 20)
    assert late.process.poll() is None and not late.ready_file.exists()
    assert late.client.node()["joined"] is False
    assert late.end() == 0


def test_two_nodes_of_one_name_say_so(mesh: Mesh) -> None:
    first = mesh.up("n1")
    second = mesh.start("n2", "--name", "n1", "--join", first.ticket)
    until(second.serves, "it serves")
    for node, other in ((first, second), (second, first)):
        until(partial(said, node, f'"other":"{other.ready["id"]}"'), "it names the other one")
        assert "another node of this mesh has the same name" in node.said()


def said(node: Running, words: str) -> bool:
    return words in node.said()


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "leave"])
def test_a_node_ends_clean(mesh: Mesh, how: str) -> None:
    node = mesh.up("n1")
    node.launch()
    if how == "leave":
        node.client.leave()
        assert node.process.wait(5) == 0
    else:
        assert node.end(getattr(signal, how)) == 0
    assert not (node.data / "lock").exists() and not (node.data / "control.sock").exists()
    assert "Traceback" not in node.said()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_keeps_identity_and_records(mesh: Mesh, number: int) -> None:
    before = mesh.up("n1")
    before.launch()
    row = before.client.nodes()[0]
    before.end(number)
    after = mesh.start("n1", data=before.data)
    until(after.serves, "it serves again")
    again = after.client.nodes()[0]
    assert again["id"] == row["id"] and again["incarnation"] == row["incarnation"] + 1
    assert [c["name"] for c in after.client.capsules()] == ["hello"]
    assert after.request("hello.localhost")[0] == 200


def test_all_addresses_but_loopback_are_told_where_all_are_listened_on(mesh: Mesh) -> None:
    node = mesh.up("n1", "--listen", "/ip4/0.0.0.0/tcp/0")
    addresses = node.ready["addresses"]
    assert addresses and all(a.endswith(f"/p2p/{node.ready['id']}") for a in addresses)
    assert not any("0.0.0.0" in a for a in addresses)
    assert len(addresses) == 1 or not any("/127." in a for a in addresses)


def test_a_panic_in_native_code_ends_the_node(tmp_path: Path) -> None:
    """What native tells of a panic is the end: a message, exit code 1, the folder given back."""
    run = subprocess.run(
        [sys.executable, "-c", PANIC, *flags(tmp_path / "data")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 1, run.stderr
    assert "native code panicked at x.rs:1" in run.stderr and "Traceback" not in run.stderr
    assert not (tmp_path / "data" / "lock").exists()


def test_what_a_node_would_say_of_itself_must_fit_into_a_heartbeat(tmp_path: Path) -> None:
    orbits = [word for n in range(16) for word in ("--orbit", f"orbit-{n}-" + "x" * 50)]
    code, said = refused(*flags(tmp_path / "data"), *orbits)
    assert code == 2 and "a heartbeat has 1024" in said and "Traceback" not in said
    assert not (tmp_path / "data" / "lock").exists()


def test_requests_that_are_none_are_answered_with_what_to_do(mesh: Mesh) -> None:
    node = mesh.up("n1")

    def ask(line: bytes) -> Any:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(10)
            control.connect(str(node.data / "control.sock"))
            control.sendall(line)
            with control.makefile("rb") as answer:
                return json.loads(answer.readline())

    for line, why in (
        (b"nonsense\n", "no JSON object"),
        (b"[1]\n", "no JSON object"),
        (b'{"v":2,"op":"node"}\n', "version 1"),
        (b'{"v":1,"op":"destroy"}\n', "no operation 'destroy'"),
        (b'{"v":1,"op":["node"]}\n', "no operation"),
        (b'{"v":1,"op":"node","x":1}\n', "unknown field `x`"),
        (b'{"v":1,"op":"events","after":"one"}\n', "after"),
        (b'{"v":1,"op":"why"}\n', "capsule"),
        (b'{"v":1,"op":"node","x":"' + b"x" * 1_100_000 + b'"}\n', "at most"),
    ):
        error = ask(line)["error"]
        assert why in error["what"] and error["exit"] == 2, (line[:40], error)
    assert ask(b'{"v":1,"op":"node"}\n')["done"]["name"] == "n1"
    assert (node.data / "control.sock").stat().st_mode & 0o777 == 0o600
