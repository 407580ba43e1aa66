"""A stub of a node, found by ``FALAK_DATA`` as a command would find it."""

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.unit.node_stub import node_stub


@pytest.fixture
def stub(monkeypatch):
    folder = Path(tempfile.mkdtemp(prefix="falak-"))
    monkeypatch.setenv("FALAK_DATA", str(folder))
    with node_stub(folder) as stub:
        yield stub
    shutil.rmtree(folder)
