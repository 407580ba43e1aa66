"""The command line against a stub of a node: words in, client calls out, text and exit codes back."""

import inspect
import io
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from pathlib import Path

import pytest

from falak.cli import output
from falak.cli.main import VERBS, main
from falak.cli.options import reachable

ROOT = Path(__file__).resolve().parents[2]
HELLO = ROOT / "examples" / "hello"
NODE = {"name": "n1", "version": "9", "wasmtime": "8", "ticket": "TICKET", "http": "127.0.0.1:1"}
NODE_ROW = {
    "name": "n1",
    "id": "12D3",
    "state": "alive",
    "cluster": "main",
    "zone": "",
    "orbits": ["default", "gpu"],
    "tags": [],
    "addresses": ["/ip4/127.0.0.1/tcp/7420/p2p/12D3"],
    "http": "127.0.0.1:8420",
    "incarnation": 1,
    "capacity": {"free_cpu_millis": 1500, "free_memory_bytes": 2**30},
    "claims": 2,
    "rtt_ms": 0.25,
    "linked": True,
    "evidence": "",
    "self": True,
    "new_field": [1],
}
COPY = {
    "capsule": "hello",
    "version": "1",
    "generation": 1,
    "node": "n4",
    "node_id": "12D3",
    "slot": 0,
    "state": "active",
    "since_s": 75.0,
    "load_ms": 1.5,
    "requests": 7,
    "errors": 0,
    "parked": 0,
    "in_flight": 0,
    "p50_ms": 0.5,
    "p99_ms": 2.0,
    "memory_limit_bytes": 1,
}
CAPSULE = {
    "name": "hello",
    "version": "1",
    "generation": 3,
    "orbit": "default",
    "kind": "function",
    "runtime": "wasm",
    "publisher": "n1",
    "keepers": ["n2", "n3"],
    "kept_here": False,
    "artifact": "prepared",
    "hosts": ["hello.localhost"],
    "size_bytes": 6338,
}
EVENT = {
    "n": 1,
    "at": 1000.5,
    "node": "n1",
    "event": "node.drop",
    "cause": "",
    "member": "n3",
    "evidence": "a b",
}
LINE = {"node": "n1", "n": 1, "at": 1000.5, "stream": "stderr", "text": "oh"}
LAUNCHED = {
    "name": "hello",
    "generation": 2,
    "version": "1",
    "keepers": ["n2"],
    "changed": True,
    "url": "http://hello.localhost:1/",
    "answered": {"status": 200, "ms": 2.5},
}


@pytest.fixture
def stub(stub):
    stub.done("node", NODE)
    return stub


def test_listings_as_json_are_what_the_node_said(stub, capsys):
    """Also fields that this version does not know."""
    stub.done("nodes", [NODE_ROW])
    stub.done("ps", {"rows": [COPY], "partial": False, "missing": []})
    stub.done("capsules", [CAPSULE])
    stub.done("orbits", [])
    for words, said in [
        ("nodes --json", [NODE_ROW]),
        ("nodes -o json", [NODE_ROW]),
        ("ps --json", [COPY]),
        ("capsules --output json", [CAPSULE]),
        ("orbits --json", []),
    ]:
        assert main(words.split()) == 0
        assert json.loads(capsys.readouterr().out) == said


def test_listings_as_tables(stub, capsys):
    stub.done("nodes", [NODE_ROW])
    stub.done("ps", {"rows": [COPY], "partial": True, "missing": ["n3"]})
    stub.done("capsules", [CAPSULE])
    stub.done("orbits", [{"orbit": "gpu", "watched": True, "watchers": ["n1"], "capsules": []}])
    for words, expected in [
        ("nodes", ["NAME", "n1 *", "alive", "default gpu", "1.5", "1024", "127.0.0.1:8420", " 127.0.0.1:7420"]),
        ("ps", ["CAPSULE", "hello", "n4", "active", "1 min 15 s", "7", " ≤0.5", " ≤2\n"]),
        ("capsules", ["GENERATION", "hello", "3", "n2 n3", "6.2", "prepared", "hello.localhost"]),
        ("orbits", ["WATCHERS", "gpu", "yes", "n1", "-"]),
    ]:
        assert main([words]) == 0
        told = capsys.readouterr()
        assert not [word for word in expected if word not in told.out], told.out
        assert "\x1b" not in told.out
        assert ("partial: no answer from n3" in told.err) == (words == "ps")


def test_an_empty_table_says_so_on_stderr(stub, capsys):
    stub.done("ps", {"rows": [], "partial": False, "missing": []})
    assert main(["ps"]) == 0
    told = capsys.readouterr()
    assert told.out == "" and "nothing runs" in told.err


def test_nothing_is_cut_off_where_a_program_reads(stub, capsys):
    stub.done("nodes", [NODE_ROW | {"tags": ["x" * 400]}])
    main(["nodes"])
    assert "x" * 400 in capsys.readouterr().out


def on_a_terminal(monkeypatch, *words: str) -> list[str]:
    """What a command prints on a terminal of 80 columns, without its colours."""
    screen = io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(words) == 0
    return re.sub(r"\x1b\[[\d;]*m", "", screen.getvalue()).splitlines()


def test_five_nodes_fit_on_a_terminal(stub, monkeypatch):
    rows = [NODE_ROW | {"name": f"n{at}", "self": at == 1, "orbits": ["default"]} for at in range(1, 6)]
    ports = {"http": "127.0.0.1:43235", "addresses": ["/ip4/127.0.0.1/tcp/36763/p2p/12D3"]}
    stub.done("nodes", [row | ports for row in rows])
    lines = on_a_terminal(monkeypatch, "nodes")
    assert len(lines) == 6 and max(map(len, lines)) <= 80, lines
    assert lines[0].split() == "NAME STATE COPIES CORES MIB RTT-MS HTTP MESH".split()
    assert lines[2].split() == "n2 alive 2 1.5 1024 0.2 127.0.0.1:43235 127.0.0.1:36763".split()


def test_rows_are_not_taken_apart(stub, monkeypatch):
    rows = [COPY | {"capsule": "a-name-of-some-length", "since_s": 152.0}, COPY]
    stub.done("ps", {"rows": rows, "partial": False, "missing": []})
    lines = on_a_terminal(monkeypatch, "ps")
    assert len(lines) == 3 and " 2 min 32 s " in lines[1], lines


@pytest.mark.parametrize("state", ["dropped", "left"])
def test_a_node_that_is_gone_has_no_numbers(stub, capsys, state):
    stub.done(
        "nodes", [NODE_ROW, NODE_ROW | {"name": "n2", "self": False, "state": state, "evidence": "it was cut"}]
    )
    assert main(["nodes"]) == 0
    gone = capsys.readouterr().out.splitlines()[2]
    words = f"n2 {state} default gpu - - - - 127.0.0.1:8420 127.0.0.1:7420 it was cut"
    assert gone.split() == words.split()


def test_what_never_orbited_is_said(stub, capsys):
    stub.done("capsules", [CAPSULE])
    stub.done("events", {"partial": False, "missing": []})
    stub.done("logs", {"partial": False, "missing": []})
    stub.done("why", {"capsule": "nope", "cause": "", "events": [], "missing": []})
    for words, code, said in [
        ("logs nope", 0, "no capsule nope orbits here"),
        ("logs hello", 0, "the copies of hello wrote nothing"),
        ("events --capsule nope", 0, "no capsule nope orbits here"),
        ("events --capsule hello", 0, ""),
        ("why nope", 1, "no capsule nope orbits here"),
        ("why hello", 1, "no request had to wait"),
    ]:
        assert main(words.split()) == code
        told = capsys.readouterr()
        assert told.out == "" and said in told.err and bool(said) == bool(told.err), words


def test_the_end_of_a_followed_node_is_no_failure(stub, capsys):
    stub.done("events", {"partial": False, "missing": [], "ended": True}, EVENT)
    assert main(["events", "--follow"]) == 0
    told = capsys.readouterr()
    assert "node.drop" in told.out and told.err == f"the node in {stub.folder} has ended\n"


def test_events_and_why_speak_of_one_rank_and_gravity(stub, capsys):
    proposed = EVENT | {"event": "election.proposed", "capsule": "a", "rank": 0, "gravity": 905_990}
    called = EVENT | {"event": "election.called", "gravities": [905_990, 880_000]}
    stub.done("events", {"partial": False, "missing": []}, proposed, called)
    assert main(["events"]) == 0
    told = capsys.readouterr().out
    assert "rank=1 gravity=0.906" in told and "gravities=0.906,0.880" in told
    assert main(["events", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["rank"] == 0


def test_ps_passes_its_wait(stub):
    stub.done("ps", {"rows": [], "partial": False, "missing": []})
    main(["ps", "--wait", "0.25"])
    assert stub.asked[-1]["wait_s"] == 0.25


def test_events_as_lines(stub, capsys):
    stub.done("events", {"partial": False, "missing": []}, EVENT, EVENT | {"n": 2})
    stub.done("capsules", [CAPSULE | {"name": "a"}])
    assert main(["events", "--json", "--after", "3", "--capsule", "a", "--local"]) == 0
    assert [json.loads(line)["n"] for line in capsys.readouterr().out.splitlines()] == [1, 2]
    assert stub.asked[-1] == {
        "v": 1,
        "op": "events",
        "after": 3,
        "follow": False,
        "capsule": "a",
        "local": True,
    }
    assert main(["events", "-f"]) == 0
    assert stub.asked[-1]["follow"] is True
    out = capsys.readouterr().out
    assert "n1" in out and "node.drop" in out and 'member=n3 evidence="a b"' in out


def test_logs(stub, capsys):
    stub.done("logs", {"partial": False, "missing": ["n2"]}, LINE)
    stub.done("capsules", [CAPSULE])
    assert main(["logs", "hello"]) == 0
    told = capsys.readouterr()
    assert told.out.rstrip().endswith("n1       ! oh") and "n2" in told.err
    assert main(["logs", "hello", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == LINE


def test_ticket_and_version(stub, capsys):
    assert main(["ticket"]) == 0
    assert capsys.readouterr().out == "TICKET\n"
    assert main(["version"]) == 0
    assert "node n1 9, wasmtime 8, http://127.0.0.1:1/\n" in capsys.readouterr().out


def test_version_without_a_node(tmp_path, capsys):
    assert main(["version", "--data", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("falak ") and "no node is reachable" in told.err


@pytest.mark.parametrize(
    "words", ["ps", "nodes", "orbits", "capsules", "events", "logs a", "why a", "ticket", "call a"]
)
def test_without_a_node_the_exit_code_is_3(words, tmp_path, capsys):
    assert main([*words.split(), "--data", str(tmp_path)]) == 3
    told = capsys.readouterr()
    assert told.out == "" and str(tmp_path) in told.err and "falak up --data" in told.err


@pytest.mark.parametrize(
    "words, said",
    [
        ("ps --bogus", "Unknown option"),
        ("blub", "Unknown command"),
        ("nodse", 'Did you mean "nodes"'),
        ("ps -o xml", "Invalid value"),
        ("why", "CAPSULE is missing: falak why CAPSULE"),
        ("call", "CAPSULE is missing: falak call CAPSULE [PATH]"),
        ("call ''", "CAPSULE is missing: falak call CAPSULE [PATH]"),
        ("stop", "falak leave"),
        ("status", "falak nodes; falak ps"),
        ("help stauts", "Unknown command"),
        ("why a b", "Unused"),
        ("launch /nonexistent", "no such file"),
        ("call a --header x", "is no header"),
        ("call a --body @/nonexistent", "cannot be read"),
        ("up --http nowhere", "falak: command line: 1 problem\n  --http 'nowhere' is no IP:PORT"),
        ("demo --nodes 0", "1 to 20"),
    ],
)
def test_used_wrongly_the_exit_code_is_2(words, said, stub, capsys):
    assert main(shlex.split(words)) == 2
    told = capsys.readouterr()
    assert said in told.err and told.out == ""


def test_errors_of_the_node_keep_their_exit_code(stub, capsys):
    stub.answers["launch"] = [{"error": {"what": "it did not answer", "hint": "falak logs", "exit": 4}}]
    assert main(["launch", str(HELLO)]) == 4
    assert capsys.readouterr().err == "falak: it did not answer\n  falak logs\n"


def test_launch_of_a_folder(stub, capsys):
    stages = [
        {"stage": "taken", "digest": "ab" * 32, "size_bytes": 6338, "ms": 1.0},
        {"stage": "checked", "exports": [], "ms": 2.0},
        {"stage": "kept", "generation": 2, "keepers": ["n2", "n3"], "changed": True, "ms": 3.0},
        {"stage": "called", "status": 200, "ms": 2.5},
    ]
    stub.done("launch", LAUNCHED, *stages)
    assert main(["launch", str(HELLO), "--orbit", "web"]) == 0
    asked = next(request for request in stub.asked if request["op"] == "launch")
    assert asked["path"] == str(HELLO / "hello.wasm") and asked["call"] is True
    assert asked["record"]["name"] == "hello" and asked["record"]["orbit"] == "web"
    assert asked["record"]["env"] == {"GREETING": "hello from a capsule"}
    out = capsys.readouterr().out
    assert "6.2 KiB" in out and "kept so far by n2 n3" in out and "answers: 200 in 2.5 ms" in out
    assert "curl -H 'Host: hello.localhost' http://127.0.0.1:1/" in out


def test_launch_of_a_file(stub, capsys):
    stub.done("launch", LAUNCHED | {"answered": None, "changed": False})
    assert main(["launch", str(HELLO / "hello.wasm"), "--no-call"]) == 0
    assert stub.asked[0]["record"]["name"] == "hello" and stub.asked[0]["call"] is False
    assert "orbits, cold (nothing new" in capsys.readouterr().out
    main(["launch", str(HELLO / "hello.wasm"), "--name", "other"])
    assert [asked["record"]["name"] for asked in stub.asked if asked["op"] == "launch"] == ["hello", "other"]


def test_launch_tells_what_is_wrong_before_a_node_is_asked(stub, tmp_path, capsys):
    (tmp_path / "capsule.toml").write_text('nam = "x"\n')
    assert main(["launch", str(tmp_path)]) == 2
    assert f"{tmp_path / 'capsule.toml'}:1: unknown key 'nam'" in capsys.readouterr().err
    assert main(["launch", str(HELLO), "--name", "Bad Name"]) == 2
    assert "write 'bad-name'" in capsys.readouterr().err
    assert stub.asked == []


class Echo(BaseHTTPRequestHandler):
    """Answers with what came; the status is in the path."""

    def do_GET(self):
        length = int(self.headers.get("Content-Length") or 0)
        said = f"{self.command} {self.path} {self.headers['Host']} {self.headers.get('X')} ".encode()
        said += self.rfile.read(length)
        self.send_response(int(self.path.rpartition("/")[2]))
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_POST = do_PUT = do_GET

    def log_message(self, *words):
        """Quiet."""


@pytest.fixture
def gateway(stub):
    server = HTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    stub.done("node", NODE | {"http": f"127.0.0.1:{server.server_port}"})
    yield stub
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "words, code, out, err",
    [
        (["hello", "/a/200"], 0, b"GET /a/200 hello.localhost None ", ""),
        (["hello", "a/200"], 0, b"GET /a/200 hello.localhost None ", ""),
        (["hello", "/404"], 1, b"GET /404 hello.localhost None ", "HTTP 404 Not Found\n"),
        (["hello", "/302"], 0, b"GET /302 hello.localhost None ", "HTTP 302 Found\n"),
        (["hello", "/201", "--body", "x=1", "-H", "X: y"], 0, b"POST /201 hello.localhost y x=1", ""),
        (["hello", "/200", "-X", "PUT", "-d", "z"], 0, b"PUT /200 hello.localhost None z", ""),
        (["hello", "/200", "-H", "Host: shop.example"], 0, b"GET /200 shop.example None ", ""),
    ],
)
def test_call(gateway, capsysbinary, words, code, out, err):
    assert main(["call", *words]) == code
    told = capsysbinary.readouterr()
    assert (told.out, told.err) == (out, err.encode())


def test_call_sends_a_files_bytes(gateway, capsysbinary, tmp_path):
    (tmp_path / "body").write_bytes(b"\0\xff")
    assert main(["call", "hello", "/200", "--body", f"@{tmp_path / 'body'}"]) == 0
    assert capsysbinary.readouterr().out.endswith(b"\0\xff")


@pytest.mark.parametrize("path", ["/a b/200", "/200\r\nX: y"])
def test_call_refuses_what_is_no_path(gateway, capsys, path):
    assert main(["call", "hello", path]) == 2
    assert "cannot be asked that" in capsys.readouterr().err


def test_call_without_a_gateway(stub, capsys):
    assert main(["call", "hello"]) == 1
    assert "the gateway at 127.0.0.1:1 broke off" in capsys.readouterr().err


def test_unspecified_addresses_are_reached_on_this_machine():
    assert reachable("0.0.0.0:80") == "127.0.0.1:80"
    assert reachable("[::]:80") == "[::1]:80"
    assert reachable("10.0.0.1:80") == "10.0.0.1:80"


def test_the_list_of_verbs_shows_what_their_docstrings_say():
    for verb, (where, what) in VERBS.items():
        module, _, function = where.partition(":")
        doc = inspect.getdoc(getattr(import_module(module), function))
        assert doc and doc.partition("\n")[0] == what, verb


def test_every_verb_has_help(capsys):
    for verb in VERBS:
        assert main([verb, "--help"]) in (0, None)
        assert f"falak {verb}" in capsys.readouterr().out


def test_help_is_a_word_too(capsys):
    assert main(["help"]) == 0
    assert "Usage: falak VERB" in capsys.readouterr().out
    assert main(["help", "call"]) == 0
    assert "Usage: falak call CAPSULE [PATH]" in capsys.readouterr().out


def test_interrupted_is_130_and_quiet(stub, monkeypatch, capsys):
    def interrupt(*words):
        raise KeyboardInterrupt

    monkeypatch.setattr("falak.client.api.Client.nodes", interrupt)
    assert main(["nodes"]) == 130
    assert capsys.readouterr().err == ""


def test_a_broken_pipe_is_quiet(stub):
    stub.done("capsules", [CAPSULE] * 3000)
    run = subprocess.run(
        [sys.executable, "-m", "falak", "capsules", "--json", "--data", str(stub.folder)],
        cwd=ROOT,
        stdout=_closed_pipe(),
        stderr=subprocess.PIPE,
        timeout=30,
        check=False,
    )
    assert (run.returncode, run.stderr) == (141, b"")


def _closed_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize(
    "seconds, text",
    [(0.0004, "0 ms"), (0.85, "850 ms"), (12, "12 s"), (60, "1 min"), (3661, "1 h 1 min"), (90000, "1 d 1 h")],
)
def test_durations(seconds, text):
    assert output.duration(seconds) == text


def test_a_long_wait_is_told_on_a_terminal(monkeypatch):
    said, told = [], threading.Event()

    def write(number: int, text: bytes) -> None:
        said.append((number, text))
        told.set()

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(output, "QUIET_S", 0.0)
    monkeypatch.setattr(os, "write", write)
    with output.waiting("godot"):
        assert told.wait(10)
    assert said == [(2, "waiting for godot …\n".encode())]
