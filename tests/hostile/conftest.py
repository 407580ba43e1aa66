"""Targets of hostile tests: one real node with the probe, and three with strangers among them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.asking import PROBE, known, launch
from tests.hostile.stranger import CAPSULE, Stranger, noted, unharmed
from tests.integration.conftest import mesh
from tests.nodes import Mesh, Running

__all__ = ["mesh", "probe"]


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A node alone that runs the probe, at ``probe.localhost`` and at ``127.0.0.1``."""
    mesh = Mesh(tmp_path_factory.mktemp("probe"))
    try:
        node = mesh.up("n1")
        launch(node, "probe", component=PROBE, call=True, route=[{"host": "127.0.0.1"}])
        yield node
        assert node.process.poll() is None, node.said()
    finally:
        wrong = mesh.end()
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Running]]:
    """The attacked mesh, with one capsule."""
    mesh = Mesh(tmp_path_factory.mktemp("attacked"))
    try:
        nodes = mesh.grow(3)
        launch(nodes[0], CAPSULE)
        known(nodes, CAPSULE)
        yield nodes
    finally:
        wrong = mesh.end()
    assert not wrong, "\n".join(wrong)


MakeStranger = Callable[..., Stranger]


@pytest.fixture
def stranger(three: list[Running], tmp_path: Path) -> Iterator[MakeStranger]:
    """Makes strangers to the second node; when they are gone, everything is as it was."""
    made: list[Stranger] = []
    before = noted(three)

    def make(**options: Any) -> Stranger:
        made.append(Stranger(three[1], tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.mesh.close()
        one.pump(0)
    unharmed(three, before)
