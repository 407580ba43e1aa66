"""Meshes of one, two, three and four real nodes: who must agree there, and what another orbit sees."""

from functools import partial

import pytest

from tests.asking import at_all, copies, events_of, falak, get, known, launch, states
from tests.nodes import Mesh, Running

QUORUM = {1: 1, 2: 2, 3: 2, 4: 3}


@pytest.mark.parametrize("size", QUORUM)
def test_so_many_acks_elect(mesh: Mesh, size: int) -> None:
    nodes = mesh.grow(size)
    launched = launch(nodes[0], "small")
    others = min(2, size - 1)
    assert len(launched["keepers"]) >= others
    known(nodes, "small")
    for node in nodes[::-1]:
        assert get(node, "small").status == 200
    (won,) = events_of(nodes[-1], "small", "election.won")
    assert won["electors"] == size
    assert QUORUM[size] <= len(won["acks"]) <= size
    (copy,) = copies(nodes[0], "small")
    assert copy["node"] == won["node"]
    told = falak(nodes[0], "why", "small")
    assert won["node"] in told and all(name in told for name in won["acks"])


def test_a_mesh_goes_on_as_it_shrinks(mesh: Mesh) -> None:
    nodes = mesh.grow(4)
    for number in range(1, 5):
        launch(nodes[0], f"c{number}")
        known(nodes, f"c{number}")
    for number, size in enumerate((4, 3, 2, 1), 1):
        here = nodes[:size]
        assert get(here[0], f"c{number}").status == 200
        (won,) = events_of(here[0], f"c{number}", "election.won")
        assert won["electors"] == size and len(won["acks"]) >= QUORUM[size]
        if size > 1:
            assert nodes[size - 1].end() == 0
            at_all(here[:-1], partial(knows_left, gone=here[-1].name), "it knows who left")


def knows_left(node: Running, gone: str) -> bool:
    return states(node)[gone] == "left"


def test_another_orbit_reaches_a_capsule_and_does_not_run_it(mesh: Mesh) -> None:
    inside = [mesh.up("in1"), mesh.up("in2")]
    outside = mesh.up("out", "--orbit", "elsewhere")
    mesh.settle(mesh.nodes)
    launch(inside[0], "inner")
    known(inside, "inner")
    assert get(outside, "inner").status == 200
    (copy,) = copies(outside, "inner")
    assert copy["node"] in ("in1", "in2")
    launch(outside, "outer", orbit="elsewhere")
    assert get(inside[0], "outer").status == 200
    (copy,) = copies(inside[1], "outer")
    assert copy["node"] == "out"
    orbits = {row["orbit"]: row for row in inside[0].client.orbits()}
    assert orbits["default"]["watchers"] == ["in1", "in2"] and orbits["default"]["watched"]
    assert orbits["elsewhere"]["watchers"] == ["out"] and not orbits["elsewhere"]["watched"]
    launch(inside[0], "orphan", orbit="elsewhere")
    assert outside.end() == 0
    at_all(inside, lambda node: states(node)["out"] == "left", "it knows who left")
    answer = get(inside[1], "orphan")
    assert answer.status == 503 and "orbit" in answer.text and answer.header("retry-after")
