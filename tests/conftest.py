"""What every test may rely on: foreign tools, or a skip that says what is missing; no process left behind."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "falak"
MARK = "FALAK_TEST_RUN"
ENDED_S = 5.0
NO_SKIPS = "FALAK_NO_SKIPS"
"""Set (by ``make test``): a test that is skipped fails the run."""

os.environ.pop("FALAK_DATA", None)  # a test never meets the developer's own node
os.environ[MARK] = str(os.getpid())
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], str(CACHE / "bin")])

settings.register_profile("falak", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("falak")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write transcripts anew; read the diff")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What was not looked at is not known to hold."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")  # none in a worker of xdist
    skipped = len(reporter.stats.get("skipped", ())) if reporter else 0
    if reporter and skipped and os.environ.get(NO_SKIPS) and session.exitstatus == 0:
        reporter.write_line(f"\n{skipped} skipped, which {NO_SKIPS} does not allow (`make tools` brings tools)")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """``tool("h2spec")`` is its path; the test is skipped, with the reason, where it is missing."""

    def find(name: str) -> str:
        return shutil.which(name) or pytest.skip(f"{name} is not on PATH: `make tools` brings it")

    return find


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The folder ``node_modules`` with js-libp2p. A script finds it through a symlink beside itself."""
    folder = CACHE / "js" / "node_modules"
    return folder if folder.is_dir() else pytest.skip(f"no {folder}: `make tools` brings it")


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Every process started by this run of pytest has ended when its last test has. What a killed node had
    started ends by itself, when it finds its parent gone: a moment later."""
    yield
    ends_at = time.monotonic() + ENDED_S
    while (left := all_started_here()) and time.monotonic() < ends_at:
        time.sleep(0.01)
    assert not left, f"processes left behind: {left}"


def all_started_here() -> list[str]:
    return [command for process in Path("/proc").glob("[0-9]*") if (command := started_here(process))]


def started_here(process: Path) -> str:
    """``PID COMMAND LINE`` of a process that carries this run's mark, else nothing."""
    try:
        if f"{MARK}={os.getpid()}".encode() not in (process / "environ").read_bytes().split(b"\0"):
            return ""
        words = (process / "cmdline").read_bytes().decode().split("\0")
        return " ".join([process.name, *words])
    except OSError:  # it ended meanwhile, or belongs to somebody else
        return ""
