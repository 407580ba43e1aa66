"""A run that is to skip nothing fails where something was skipped, also in the processes of pytest-xdist."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
SKIPPED = "import pytest\n\ndef test_a():\n    pytest.skip('no tool')\n\ndef test_b():\n    pass\n"


@pytest.mark.parametrize("workers", [[], ["-n", "1"]])
@pytest.mark.parametrize("no_skips, code", [("", 0), ("1", 1)])
def test_a_skip_fails_the_run(tmp_path: Path, workers: list[str], no_skips: str, code: int) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "test_it.py").write_text(SKIPPED)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *workers, str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | {"FALAK_NO_SKIPS": no_skips},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == code, run.stdout
    assert ("1 skipped, which FALAK_NO_SKIPS does not allow" in run.stdout) == bool(code)
