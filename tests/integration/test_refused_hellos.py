"""A node that its mesh will not have: it ends with 1 and says why, and the mesh goes on without it."""

import pytest

from tests.asking import states
from tests.nodes import Mesh, Running, until

SMALL_CELL = "from falak.core import settings; settings.CELL_MAX = 2"
OTHER_PROTOCOL = "from falak.core import settings; settings.PROTOCOL_VERSION = 2"
WITHIN_S = 20.0
"""A node that hears nothing it understands gives up joining after 10 s."""


def refused(node: Running) -> str:
    """What a node that ended said on standard error: three lines at most, the last ones."""
    until(lambda: node.process.poll() is not None, f"{node.name} ends", WITHIN_S)
    node.killed = True  # it ended on purpose, and not with 0
    assert node.process.returncode == 1 and not node.ready and not node.ready_file.exists()
    assert "Traceback" not in node.said(), node.said()
    return node.said()


def test_a_full_cell_refuses_the_next_node(mesh: Mesh) -> None:
    one = mesh.start("n1", first=SMALL_CELL)
    until(one.serves, "n1 serves", WITHIN_S)
    mesh.up("n2")
    said = refused(mesh.start("n3", "--join", one.ticket))
    assert "falak: n1 refused this node: the cell is full" in said
    assert "ask whoever runs that mesh" in said
    assert states(one) == {"n1": "alive", "n2": "alive"}


@pytest.mark.parametrize("newer", ["the mesh", "the newcomer"])
def test_another_version_of_the_protocol_is_told(mesh: Mesh, newer: str) -> None:
    one = mesh.start("n1", first=OTHER_PROTOCOL if newer == "the mesh" else "")
    until(one.serves, "n1 serves", WITHIN_S)
    said = refused(mesh.start("n2", "--join", one.ticket, first=OTHER_PROTOCOL if newer != "the mesh" else ""))
    theirs, ours = (2, 1) if newer == "the mesh" else (1, 2)
    assert f"speaks version {theirs} of the protocol between nodes, this node version {ours}" in said, said
    assert states(one) == {"n1": "alive"} and one.request("nobody.localhost")[0] == 404
