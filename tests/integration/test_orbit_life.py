"""What happens to a capsule besides running: withdrawn, rolled back, a preview, and the power cut of a whole mesh."""

import shutil
import signal
from functools import partial
from pathlib import Path

import pytest

from falak.core.rendezvous import electors, keepers
from falak.errors import OperatorError
from tests.asking import PROBE, at_all, copies, events_of, falak, get, known, launch
from tests.nodes import Mesh, Running, until

SERVED_S = 15.0
"""A node that knows nobody waits 10 s for an answer before it serves alone."""


def knows(node: Running, capsule: str) -> bool:
    return capsule in [row["name"] for row in node.client.capsules()]


def keeper_names(nodes: list[Running], capsule: str) -> list[str]:
    ids = {node.ready["id"]: node.name for node in nodes}
    return [ids[peer] for peer in keepers(electors(capsule, sorted(ids)), {})]


def test_a_capsule_is_withdrawn_and_an_old_node_that_returns_meets_the_tombstone(mesh: Mesh) -> None:
    nodes = mesh.grow(3)
    launch(nodes[0], "hello")
    known(nodes, "hello")
    assert get(nodes[1], "hello").status == 200
    old = nodes[2]
    old.end(signal.SIGKILL)
    said = falak(nodes[0], "withdraw", "hello")
    assert "hello is withdrawn" in said
    at_all(nodes[:2], lambda node: not knows(node, "hello"), "has forgotten it")
    assert not copies(nodes[0], "hello") and get(nodes[1], "hello").status == 404
    again = mesh.up("n3")
    mesh.settle([*nodes[:2], again])
    at_all([*nodes[:2], again], lambda node: not knows(node, "hello"), "has forgotten it")
    assert get(again, "hello").status == 404
    assert "it was before" in falak(again, "withdraw", "hello")
    with pytest.raises(OperatorError, match="no capsule of this name orbits"):
        again.client.withdraw("never-there")


def test_a_rollback_serves_what_was_before(mesh: Mesh) -> None:
    nodes = mesh.grow(2)
    launch(nodes[0], "app", call=True)
    launch(nodes[0], "app", component=PROBE, version="other")
    known(nodes, "app", 2)
    assert "generation 3" in falak(nodes[1], "launch", "--rollback", "app")
    known(nodes, "app", 3)
    until(lambda: "hello from a capsule" in get(nodes[1], "app").text, "the old content answers")


def test_a_preview_goes_with_its_publisher(mesh: Mesh) -> None:
    nodes = mesh.grow(2)
    launch(nodes[0], "preview", ttl="10s", keep=False)
    launch(nodes[0], "stays", ttl="10s")
    known(nodes, "preview")
    nodes[0].end(signal.SIGKILL)
    until(lambda: not knows(nodes[1], "preview"), "the preview expired", 25.0)
    assert events_of(nodes[1], "preview", "capsule.expired")
    assert knows(nodes[1], "stays") and get(nodes[1], "stays").status == 200


def test_a_power_cut_of_the_whole_mesh_loses_nothing(mesh: Mesh) -> None:
    """All are killed; of each capsule's three keepers one kept its disk, the node that comes up first did not."""
    nodes = mesh.grow(3)
    for name in ("one", "two"):
        launch(nodes[0], name)
        known(nodes, name)
    at_all(nodes, lambda node: all(row["kept_here"] for row in node.client.capsules()), "keeps both")
    for node in nodes:
        node.end(signal.SIGKILL)
    for node in nodes[:2]:
        lose_disk(node.data)
    survivor = nodes[2]
    torn = survivor.data / "state" / "record%2Ftorn"
    torn.write_bytes(b"\x93half a rec")
    started = [mesh.start(node.name, "--listen", listens_at(node)) for node in (survivor, *nodes[:2])]
    for node in started:
        until(node.serves, f"{node.name} serves", 30.0)
    for node in started:
        until(partial(knows_both, node), f"{node.name} knows both again", 12.0)
    for node in started:
        assert get(node, "one", within_s=SERVED_S).status == 200
        assert get(node, "two", within_s=SERVED_S).status == 200
    assert "a stored record cannot be used" in started[0].said()


def knows_both(node: Running) -> bool:
    return knows(node, "one") and knows(node, "two")


def listens_at(node: Running) -> str:
    """Where the others' address books have it."""
    return str(node.ready["addresses"][0]).partition("/p2p/")[0]


def lose_disk(data: Path) -> None:
    """Records and artifacts are gone; key, addresses and incarnation are kept on another disk."""
    for path in (data / "state").glob("record*"):
        path.unlink()
    for folder in ("artifacts", "aot"):
        shutil.rmtree(data / folder)


def test_a_keeper_whose_disk_takes_nothing_is_seen_and_another_keeps(mesh: Mesh) -> None:
    nodes = mesh.grow(4)
    broken = next(node for node in nodes[1:] if node.name in keeper_names(nodes, "hello"))
    state = broken.data / "state"
    shutil.move(state, broken.data / "away")
    state.write_text("a file is in the way of what is to be written")
    try:
        launch(nodes[0], "hello")

        def is_seen() -> bool:
            rows = {row["name"]: row for row in nodes[0].client.nodes()}
            return not rows[broken.name]["stores"]

        until(is_seen, "its disk is seen to take nothing")
        assert "its disk takes nothing" in falak(nodes[0], "nodes")
        others = [node for node in nodes if node is not broken]
        (row,) = [row for row in nodes[0].client.capsules() if row["name"] == "hello"]
        assert broken.name not in row["keepers"] and len(row["keepers"]) == 3
        until(lambda: all(kept(node) for node in others), "the other three keep it")
    finally:
        state.unlink()
        shutil.move(broken.data / "away", state)


def kept(node: Running) -> bool:
    return any(row["name"] == "hello" and row["kept_here"] for row in node.client.capsules())
