"""Work in a process of its own: its end and words come back; it never outlives its deadline or its parent."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from falak.aside import Overdue, last_words, run_aside
from falak.errand import NICE

FOR_LONG = ("timeit", "-n1", "-r1", "import time; time.sleep(60)")
PARENT = (
    f"import asyncio; from falak.aside import run_aside; asyncio.run(run_aside(*{FOR_LONG}, deadline_s=60))"
)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def until_gone(pid: int) -> None:
    ends_at = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < ends_at, f"process {pid} is still there"
        time.sleep(0.01)


def test_exit_code_and_words_come_back() -> None:
    code, output = asyncio.run(run_aside("calendar", "2026", "11", deadline_s=30))
    assert code == 0 and b"November 2026" in output
    code, output = asyncio.run(run_aside("calendar", "never", deadline_s=30))
    assert code == 2 and b"invalid" in output


def test_the_last_words_of_a_trace_are_the_error() -> None:
    assert last_words(b"Traceback\n  File x\nMemoryError: no room\n\n") == "MemoryError: no room"
    assert last_words(b" \n") == ""


def test_it_runs_at_low_priority() -> None:
    niceness = "import os; print('nice', os.nice(0))"
    _, output = asyncio.run(run_aside("timeit", "-n1", "-r1", niceness, deadline_s=30))
    assert f"nice {min(19, os.nice(0) + NICE)}" in output.decode()


def test_it_is_ended_at_its_deadline() -> None:
    async def scene() -> None:
        with pytest.raises(Overdue):
            await run_aside(*FOR_LONG, deadline_s=0.5)

    before = children(os.getpid())  # nodes of other tests in this worker
    asyncio.run(scene())
    assert set(children(os.getpid())) <= set(before)


def test_it_ends_with_a_parent_that_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT]) as parent:
        ends_at = time.monotonic() + 10
        while not (found := children(parent.pid)):
            assert time.monotonic() < ends_at, "it was not started"
            time.sleep(0.01)
        parent.kill()
    until_gone(found[0])
