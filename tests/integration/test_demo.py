"""``falak demo`` as a newcomer types it: what it tells, how it ends, and that nothing stays behind."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from falak.client import Client
from falak.demo.steps import COMPONENT
from tests.nodes import HELLO, ROOT, until

MARK = "FALAK_TEST_DEMO"
DEMO_S = 60.0
"""Far above what it takes (it promises 30 s), for machines that run other tests beside it."""


def run_demo(folder: Path, *flags: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The demo with its temporary files in ``folder``."""
    return subprocess.run(
        [sys.executable, "-m", "falak", "demo", *flags],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder)} | environ,
        capture_output=True,
        text=True,
        timeout=DEMO_S,
        check=False,
    )


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short, for the unix sockets below it."""
    return tmp_path_factory.mktemp("d")


def found(pattern: str, text: str) -> str:
    """The first group of a pattern that is there."""
    match = re.search(pattern, text)
    assert match, f"{pattern!r} not in\n{text}"
    return match[1]


def test_the_whole_story(folder):
    done = run_demo(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    told = done.stdout
    for name in ("n1", "n2", "n3", "n4", "n5"):
        assert re.search(rf"{name} +serves after +\d+ ms on http://127\.0\.0\.1:\d+", told)
        assert re.search(rf"{name} +40 answered, p50 [\d.]+ ms", told)
    for words in [
        "each sees all 5",
        r"kept +[\d.]+ ms  generation 1, kept so far by n\d n\d",
        r"compiled at 5 nodes after \d+ ms, running at none",
        r"[\d.]+ ms  n2  parked a request",
        r"ms  n\d  called an election for n2: ranked( n\d){5}; electors( n\d){5}",
        r"ms  n\d  proposed itself, rank 1, with gravity 0\.\d+",
        r"ms  n\d  acked n\d",
        r"ms  n\d  won with [345] acks:( n\d){3,5}",
        r"ms  n\d  started generation 1, loaded in [\d.]+ ms",
        r"ms  n2  answered: parked for [\d.]+ ms, first byte [\d.]+ ms after the request came in",
        r"directory [\d.]+ ms,  election [\d.]+ ms,  load [\d.]+ ms,  first byte [\d.]+ ms",
        r"'hello from a capsule: /second' after [\d.]+ ms, without an election",
        r"\d+ a second, p50 [\d.]+ ms, p99 [\d.]+ ms, 0 errors; running at n\d",
        r"n\d is dead; n\d runs it now, its first answer \d+ ms after the kill",
        r"all \d+ requests were answered; \d+ of them waited, \d+ ms at most",
        r"gone after [\d.]+ s: nothing runs, and nothing is paid for",
        r"'hello from a capsule: /back' after [\d.]+ ms, from n\d",
        r"'hello from a capsule: /still-here' after [\d.]+ ms at n\d",
        r"[34] of [34] nodes ended when asked to; its folder is removed",
    ]:
        assert re.search(words, told), f"{words!r} not in\n{told}"
    assert "\x1b" not in told, "no colour off a terminal"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("count", [1, 2, 3])
def test_small_meshes_tell_that_they_are_small(folder, count):
    done = run_demo(folder, "--nodes", str(count))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"(of {count} that vote: the mesh is too small for 3 acks)" in done.stdout
    assert "1 nodes" not in done.stdout and "all 1" not in done.stdout
    assert list(folder.iterdir()) == []


def test_kept_it_stays_and_says_what_to_type_next(folder):
    done = run_demo(folder, "--nodes", "2", "--keep")
    assert done.returncode == 0, done.stdout + done.stderr
    pids = [int(pid) for pid in found(r"kill ((?:\d+ ?)+);", done.stdout).split()]
    try:
        data = Path(found(r"export FALAK_DATA=(\S+) PATH=", done.stdout))
        assert {row["state"] for row in Client(data).nodes()} == {"alive"}
        assert re.search(r"curl -H 'Host: hello.localhost' http://127\.0\.0\.1:\d+/", done.stdout)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
    until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids), "both nodes ended")


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
@pytest.mark.parametrize("seen", ["n1", "n3", "n5.json"])
def test_a_demo_that_is_ended_ends_its_nodes(folder, number, code, seen):
    """Whenever the signal comes, also while a process is being started."""
    process = subprocess.Popen(
        [sys.executable, "-m", "falak", "demo"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder), MARK: str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until(lambda: list(folder.glob(f"falak-demo-*/{seen}")), f"{seen} is there", DEMO_S)
    process.send_signal(number)
    told, _ = process.communicate(timeout=DEMO_S)
    assert process.returncode == code, told
    assert "Traceback" not in told and list(folder.iterdir()) == []
    assert left(str(folder)) == []


@pytest.mark.parametrize("seen", ["n1", "n3", "n5.json"])
@pytest.mark.parametrize("flags", [[], ["--keep"]], ids=["", "keep"])
def test_a_demo_that_is_killed_leaves_no_node(folder, seen, flags):
    """Whoever kills it does not know its nodes. One that was to leave them behind has not come to that yet."""
    process = subprocess.Popen(
        [sys.executable, "-m", "falak", "demo", *flags],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder), MARK: str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    try:
        until(lambda: list(folder.glob(f"falak-demo-*/{seen}")), f"{seen} is there", DEMO_S)
    finally:
        process.kill()
        process.wait()
    until(lambda: not left(str(folder)), "its nodes end, and what they had started", 10.0)


def left(mark: str) -> list[str]:
    """Processes that carry the mark."""
    word = f"{MARK}={mark}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if word in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text())
    return found


def test_a_step_that_does_not_happen_is_told(folder, tmp_path):
    """Where the process that takes a component in cannot start, nothing is published."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text("import sys; sys.modules['falak.snapshots.take'] = None\n")
    done = run_demo(folder, "--nodes", "1", PYTHONPATH=str(broken))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "falak: this did not happen: n1 publishes a capsule" in done.stderr
    assert "1 of 1 node ended when asked to; its folder is removed" in done.stdout
    assert list(folder.iterdir()) == []


def test_the_capsule_is_the_example():
    assert COMPONENT.read_bytes() == HELLO.read_bytes()
