"""What is not published: components that could not run anywhere, and capsules that nobody would look at."""

from pathlib import Path
from typing import Any

import pytest

from falak.errors import OperatorError
from tests.nodes import HELLO, Mesh, Running

BARE = b"\0asm\x0d\0\x01\0"
"""A component without imports and exports."""
MODULE = b"\0asm\x01\0\0\0"


def refused(node: Running, component: Path, *, call: bool = False, **fields: Any) -> OperatorError:
    """The error of a launch that must fail with nothing published."""
    launched = node.client.launch(component, {"name": "x", **fields}, call=call)
    with pytest.raises(OperatorError) as caught, launched as stages:
        list(stages)
    assert caught.value.exit == 2, caught.value
    return caught.value


@pytest.mark.parametrize("call", [True, False])
def test_a_component_that_could_not_run_is_not_published(mesh: Mesh, tmp_path: Path, call: bool) -> None:
    """And the one that runs is left alone."""
    node = mesh.up("n1")
    node.launch("x")
    kept = sorted((node.data / "artifacts").iterdir())
    bare = tmp_path / "bare.wasm"
    bare.write_bytes(BARE)
    for _ in range(2):
        error = refused(node, bare, call=call)
        assert error.what.startswith(f"{bare} does not serve HTTP: no export wasi:http/incoming-handler")
    assert [row["generation"] for row in node.client.capsules()] == [1]
    assert node.request("x.localhost")[0] == 200
    assert sorted((node.data / "artifacts").iterdir()) == kept


def test_files_that_are_no_components_are_refused_by_their_names(mesh: Mesh, tmp_path: Path) -> None:
    node = mesh.up("n1")
    for content, why in (
        (b"# hello", "is not WebAssembly"),
        (MODULE, "is a core WASM module, not a component"),
        (HELLO.read_bytes()[:3000], "is damaged WebAssembly"),
    ):
        file = tmp_path / "file.wasm"
        file.write_bytes(content)
        assert refused(node, file).what.startswith(f"{file} {why}")
    assert not node.client.capsules() and not list((node.data / "artifacts").iterdir())


def test_an_orbit_that_nobody_watches_is_refused(mesh: Mesh) -> None:
    node = mesh.up("n1", "--orbit", "web", "--orbit", "gpu")
    error = refused(node, HELLO, orbit="gpus")
    assert "no node watches the orbit gpus" in error.what and "gpu web" in error.hint
    assert not node.client.capsules()


def test_texts_for_http_clients_name_no_file(mesh: Mesh, tmp_path: Path) -> None:
    """A component is compiled at other nodes too: what fails there is told without where its files are."""
    first, second = mesh.grow(2)
    first.launch(call=False)
    assert first.end() == 0
    (second.data / "aot").rename(tmp_path / "gone")
    (second.data / "aot").write_text("no folder")
    status, body = second.request("hello.localhost")
    assert status == 503 and "its compiled file" in body, body
    assert str(tmp_path) not in body and "/" not in body.replace("hello/0", "").split("n2", 1)[-1], body
