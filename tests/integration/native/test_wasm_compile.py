"""From a component to an AOT file, and the words about files that are none."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from falak import _native as native
from tests.integration.native.front import PROBE

MODULE = b"\0asm\x01\0\0\0"
COMPONENT = b"\0asm\x0d\0\x01\0"
KEY_VALUE = """(component
  (import "acme:kv/store@1.0.0" (instance))
  (import "wasi:io/poll@0.2.3" (instance))
  (core module $m (func (export "handle") (param i32 i32)))
  (core instance $i (instantiate $m))
  (type $request (resource (rep i32)))
  (instance $types (export "incoming-request" (type $request)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $types)))"""


def refused(tmp_path: Path, data: bytes) -> str:
    source, target = tmp_path / "source.wasm", tmp_path / "target.cwasm"
    source.write_bytes(data)
    with pytest.raises(ValueError) as caught:
        native.compile(str(source), str(target))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source.wasm"], "nothing is left behind"
    assert str(caught.value).startswith(f"{source}: ")
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "is not WebAssembly"),
        (b"#!/bin/sh\n", "is not WebAssembly"),
        (b"(component)", "wasm-tools parse"),
        (MODULE, "is a core WASM module, not a component: wrap it with `wasm-tools component new`"),
        (COMPONENT, "no export wasi:http/incoming-handler@0.2; it exports nothing"),
        (COMPONENT + b"\x07\xff", "is damaged WebAssembly"),
        (PROBE.read_bytes()[:-100], "is damaged WebAssembly"),
    ],
)
def test_what_is_no_http_component_is_named(tmp_path: Path, data: bytes, text: str) -> None:
    assert text in refused(tmp_path, data)


def test_imports_that_nothing_provides_are_named(tmp_path: Path, tool: Callable[[str], str]) -> None:
    command = [tool("wasm-tools"), "parse", "-", "-o", str(tmp_path / "kv.wasm")]
    subprocess.run(command, input=KEY_VALUE, text=True, check=True)
    data = (tmp_path / "kv.wasm").read_bytes()
    (tmp_path / "kv.wasm").unlink()
    why = refused(tmp_path, data)
    assert why.endswith("imports what nothing here provides: acme:kv/store@1.0.0"), why


def test_the_file_is_private_and_replaces_the_one_before(tmp_path: Path) -> None:
    target = tmp_path / "probe.cwasm"
    target.write_bytes(b"old")
    os.chmod(target, 0o644)
    native.compile(str(PROBE), str(target))
    assert target.stat().st_mode & 0o777 == 0o600 and target.stat().st_size > 10_000
    assert [path.name for path in tmp_path.iterdir()] == ["probe.cwasm"]


def test_files_that_cannot_be_read_or_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.wasm: cannot be read"):
        native.compile(str(tmp_path / "none.wasm"), str(tmp_path / "target"))
    with pytest.raises(ValueError, match=r"no folder/target: cannot be written"):
        native.compile(str(PROBE), str(tmp_path / "no folder" / "target"))
    with pytest.raises(ValueError, match=r"none\.wasm: cannot be read"):
        native.inspect(str(tmp_path / "none.wasm"))


def test_a_component_shows_its_interfaces() -> None:
    found = native.inspect(str(PROBE))
    assert found["exports"] == ["wasi:http/incoming-handler@0.2.0"]
    assert {"wasi:http/types@0.2.0", "wasi:clocks/monotonic-clock@0.2.0"} <= set(found["imports"])


def test_the_names_of_a_cache_folder_are_file_names() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", native.WASMTIME_VERSION)
    assert re.fullmatch(r"[a-z0-9_-]{8,64}", native.CPU)
