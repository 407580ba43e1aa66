"""Files of a node's own that are not as they were written: made anew or fetched again, and the request answered.

An AOT file is code: one that was changed must never be run, and one that cannot be loaded must not stand in the
way of every later start. A component that was changed is no fault of the capsule's.
"""

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from tests.asking import get, known, launch
from tests.nodes import HELLO, Mesh, Running, until

DIGEST = sha256(HELLO.read_bytes()).hexdigest()
WITHIN_S = 20.0
"""Compiling anew is part of it."""


def aot(node: Running) -> Path:
    (folder,) = (node.data / "aot").iterdir()
    return folder / f"{DIGEST}.cwasm"


def component(node: Running) -> Path:
    return node.data / "artifacts" / DIGEST


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    """A bit in each of its pages: some of them are code."""
    data = bytearray(path.read_bytes())
    for at in range(100, len(data), 4096):
        data[at] ^= 1
    path.write_bytes(data)


def swap(path: Path) -> None:
    """Another engine's: under a seal that fits, so that only the engine can tell."""
    data = b"\x7fELF of another engine" * 1000
    path.write_bytes(data)
    path.with_suffix(".seal").write_text(sha256(data).hexdigest())


def unseal(path: Path) -> None:
    path.with_suffix(".seal").unlink()


def lose(path: Path) -> None:
    path.unlink()


def damaged(node: Running) -> list[str]:
    return [event["reason"] for event in node.events("artifact.damaged")]


@pytest.mark.parametrize("damage", [cut, flip, swap, lose])
def test_an_aot_file_damaged_beside_a_running_node(mesh: Mesh, damage: Callable[[Path], None]) -> None:
    node = mesh.up("n1")
    launch(node, "hello")
    known([node], "hello")
    whole = aot(node).read_bytes()
    damage(aot(node))
    assert get(node, "hello", within_s=WITHIN_S).status == 200
    assert damaged(node) and len(node.events("momentum.started")) == 1
    assert not node.events("momentum.failed") and aot(node).read_bytes() == whole


@pytest.mark.parametrize("damage", [cut, flip, swap, unseal])
def test_an_aot_file_damaged_while_its_node_is_down(mesh: Mesh, damage: Callable[[Path], None]) -> None:
    node = mesh.up("n1")
    launch(node, "hello", call=True)
    whole = aot(node).read_bytes()
    assert node.end() == 0
    damage(aot(node))
    again = mesh.up("n1")
    assert get(again, "hello", within_s=WITHIN_S).status == 200
    assert aot(again).read_bytes() == whole and not again.events("momentum.failed")


@pytest.mark.parametrize("damage", [cut, flip, lose])
def test_a_damaged_component_is_fetched_again(mesh: Mesh, damage: Callable[[Path], None]) -> None:
    mesh.up("n1")
    mesh.up("n2", "--tag", "here")
    mesh.settle(mesh.nodes)
    one, two = mesh.nodes
    launch(one, "hello", gravity={"require": ["here"]})
    known([one, two], "hello")
    damage(component(two))
    lose(aot(two))
    answer = get(one, "hello", within_s=WITHIN_S)
    assert answer.status == 200, answer.text
    assert component(two).read_bytes() == HELLO.read_bytes() and len(damaged(two)) == 2
    assert not two.events("momentum.failed")


def test_a_damaged_component_that_nobody_else_has_is_told(mesh: Mesh) -> None:
    node = mesh.up("n1")
    launch(node, "hello")
    known([node], "hello")
    flip(component(node))
    cut(aot(node))
    answer = get(node, "hello", within_s=WITHIN_S)
    assert answer.status == 503 and "its component was damaged on this node's disk" in answer.text, answer.text
    assert "no peer that has it could be reached" in answer.text
    assert not component(node).exists()
    launch(node, "hello", call=True, version="2")  # given anew
    until(lambda: component(node).read_bytes() == HELLO.read_bytes(), "it is there again")
