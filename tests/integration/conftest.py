"""What integration tests share: a mesh of real nodes (see ``tests/nodes.py``) that ends with its test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes import HELLO, ROOT, Mesh, Running, until

__all__ = ["HELLO", "ROOT", "Mesh", "Running", "mesh", "until"]


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    """An empty mesh; its nodes end with the test."""
    nodes = Mesh(tmp_path)
    try:
        yield nodes
    finally:
        wrong = nodes.end()
    assert not wrong, "\n".join(wrong)
