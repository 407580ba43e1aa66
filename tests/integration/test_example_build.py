"""Every component kept beside its source is what the source builds to, byte for byte."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPONENTS = ["examples/hello/hello.wasm", "tests/guests/probe.wasm"]
CLANG = "14."  # other versions make other bytes; the build scripts say so


@pytest.mark.parametrize("component", COMPONENTS)
def test_builds_to_the_same_bytes(component: str, tool: Callable[[str], str], tmp_path: Path) -> None:
    kept = ROOT / component
    for name in ("clang", "wasm-ld", "wasm-tools"):
        tool(name)
    version = subprocess.run(["clang", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"clang version (\S+)", version)
    if not found or not found[1].startswith(CLANG):
        pytest.skip(f"{component} is made by clang {CLANG}x; here is: {version.splitlines()[0]}")
    built = tmp_path / kept.name
    subprocess.run(["bash", str(kept.parent / "build.sh"), str(built)], check=True, timeout=60)
    assert built.read_bytes() == kept.read_bytes()
