"""What a start of ``falak up`` costs: it loads nothing it does not use, and the collector waits until it stands."""

import subprocess
import sys
from pathlib import Path

from tests.nodes import ROOT

LOADED = """
import sys
import falak.cli.main, falak.cli.up, falak.config, falak.daemon.wiring
print(*[name for name in sys.modules if name.startswith("falak.client") or name in sys.argv])
"""
NOT_NEEDED = "cyclopts rich falak.daemon.greeting falak.manifest tomllib difflib json shutil tempfile".split()

COLLECTOR = """
import gc, sys
from falak.cli.main import main
from falak import config
read, told = config.up_options, []
def reads(*sources):
    told.append(gc.isenabled())
    return read(*sources)
config.up_options = reads
from falak.daemon.wiring import NodeProcess
begin = NodeProcess.begin
async def begin_and_end(self, tickets):
    await begin(self, tickets)
    told.append(gc.isenabled())
    told.append(gc.get_freeze_count() > 10_000)
    self._end()
NodeProcess.begin = begin_and_end
code = main(["up", *sys.argv[1:]])
print(*told, gc.isenabled())
sys.exit(code)
"""


def run(code: str, *words: str) -> str:
    """What it printed; it must end well."""
    ran = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_a_node_loads_no_client_and_no_reader_of_files() -> None:
    assert run(LOADED, *NOT_NEEDED) == ""


def test_the_collector_is_away_until_the_node_stands(tmp_path: Path) -> None:
    flags = ["--data", str(tmp_path), "--listen", "/ip4/127.0.0.1/tcp/0", "--http", "127.0.0.1:0"]
    assert run(COLLECTOR, *flags) == "False True True True"


def test_the_collector_is_back_after_a_node_that_cannot_start() -> None:
    code = "import gc; from falak.cli.main import main; assert main(['up', '--http', 'x']) == 2; print(gc.isenabled())"
    assert run(code) == "True"
