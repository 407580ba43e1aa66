"""Five nodes as processes: what is launched at one answers at all, listings cover them, deaths are survived."""

import signal
import threading
import time
from typing import Any

from tests.nodes import Mesh, until


def test_what_is_launched_at_one_answers_at_all(mesh: Mesh) -> None:
    nodes = mesh.grow(5)
    launched = nodes[0].launch(call=False)
    assert len(launched["keepers"]) >= 2 and launched["answered"] is None
    assert nodes[0].client.ps()["rows"] == []
    for node in nodes:
        status, body = node.request("hello.localhost")
        assert status == 200, (node.name, body)
    listing = nodes[3].client.ps()
    assert not listing["partial"] and listing["missing"] == []
    (row,) = listing["rows"]
    assert row["node"] in {node.name for node in nodes} and row["state"] == "active"
    won = [event for event in nodes[0].client.events() if event["event"] == "election.won"]
    assert won and len({event["cause"] for event in won}) == 1
    for node in nodes:
        assert {r["name"] for r in node.client.nodes()} == {"n1", "n2", "n3", "n4", "n5"}
        counters = node.client.counters()
        assert counters["loop"]["errors"] == 0 and not [k for k in counters["events"] if "unsound" in k]
    story = nodes[4].client.why("hello")
    names = {event["event"] for event in story["events"]}
    assert {"request.parked", "election.called", "election.ack", "election.won", "momentum.started"} <= names
    assert story["missing"] == []


def test_a_killed_holder_is_replaced(mesh: Mesh) -> None:
    nodes = mesh.grow(5)
    nodes[0].launch()
    holder = nodes[0].client.ps()["rows"][0]["node"]
    dead = next(node for node in nodes if node.name == holder)
    alive = [node for node in nodes if node.name != holder]
    dead.end(signal.SIGKILL)
    until(lambda: all(node.events("node.drop") for node in alive), "everybody drops it")
    for node in alive:
        assert node.request("hello.localhost")[0] == 200
    rows = until(lambda: alive[0].client.ps()["rows"], "it runs elsewhere")
    assert [row["node"] for row in rows if row["node"] == holder] == []
    states = {row["name"]: row["state"] for row in alive[0].client.nodes()}
    assert states[holder] == "dropped"


def test_a_node_that_leaves_is_known_to_have_left(mesh: Mesh) -> None:
    nodes = mesh.grow(3)
    assert nodes[2].end() == 0
    until(lambda: all(node.events("node.leave") for node in nodes[:2]), "both others hear the goodbye")
    for node in nodes[:2]:
        assert {row["name"]: row["state"] for row in node.client.nodes()}["n3"] == "left"
        assert not node.events("node.drop", "node.suspect")


def test_a_listing_without_a_stopped_node_is_partial_and_in_time(mesh: Mesh) -> None:
    nodes = mesh.grow(3)
    nodes[0].launch()
    nodes[2].process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        listing = nodes[0].client.ps(wait_s=0.5)
        assert time.monotonic() - began < 10
        assert listing["partial"] and listing["missing"] == ["n3"]
    finally:
        nodes[2].process.send_signal(signal.SIGCONT)


def test_events_of_the_whole_mesh_are_followed(mesh: Mesh) -> None:
    nodes = mesh.grow(3)
    seen: list[Any] = []
    stream = nodes[1].client.events(follow=True)

    def follow() -> None:
        for event in stream:
            seen.append(event)
            if event["event"] == "momentum.started":
                return

    reader = threading.Thread(target=follow)
    reader.start()
    nodes[0].launch()
    reader.join(10)
    stream.close()
    assert not reader.is_alive()
    assert {event["node"] for event in seen} == {"n1", "n2", "n3"}
    keys = [(event["node"], event["n"]) for event in seen]
    assert len(keys) == len(set(keys))
    numbers: dict[str, int] = {}
    for node, number in keys:
        assert number == numbers.get(node, 0) + 1
        numbers[node] = number


def test_whoever_keeps_it_brings_it_back_after_all_were_down(mesh: Mesh) -> None:
    nodes = mesh.grow(3)
    nodes[0].launch(call=False)
    for node in nodes:
        node.end(signal.SIGKILL)
    places = [node.ready["addresses"][0].partition("/p2p/")[0] for node in nodes]
    again = [
        mesh.start(node.name, "--listen", place, data=node.data)
        for node, place in zip(nodes, places, strict=True)
    ]
    for node in again:
        until(node.serves, f"{node.name} serves again", 20)
    assert again[1].request("hello.localhost")[0] == 200
