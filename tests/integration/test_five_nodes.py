"""Five real processes: what the demo tells, asserted from what the nodes say of themselves.

The mesh is made once and every test uses capsules of its own names, so tests come in any order.
"""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.asking import PROBE, at_all, copies, events_of, falak, get, known, launch, states
from tests.http1 import get as get_host
from tests.nodes import Mesh, Running, until

pytestmark = pytest.mark.xdist_group("five_nodes")
NAMES = ["n1", "n2", "n3", "n4", "n5"]
GREETING = "hello from a capsule"


@pytest.fixture(scope="module")
def all_of_it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The mesh of this file: n5 in zone west with two tags, the others in zone east."""
    mesh = Mesh(tmp_path_factory.mktemp("five"))
    try:
        for name in NAMES:
            place = ["--zone", "west", "--tag", "gpu", "--tag", "big"] if name == "n5" else ["--zone", "east"]
            mesh.up(name, *place)
        mesh.settle(mesh.nodes)
        yield mesh
    finally:
        wrong = mesh.end()
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def five(all_of_it: Mesh) -> Iterator[list[Running]]:
    """The five nodes, which must be alive after the test too."""
    nodes = all_of_it.nodes[:5]
    yield nodes
    for node in nodes:
        assert node.process.poll() is None, f"{node.name} ended by itself:\n{node.said()}"
        assert node.client.counters()["loop"]["errors"] == 0, node.said()


def elections(node: Running, capsule: str) -> int:
    return len(events_of(node, capsule, "election.called"))


# --- the mesh -----------------------------------------------------------------------------------------------


def test_all_list_all(five: list[Running]) -> None:
    for node in five:
        rows = json.loads(falak(node, "nodes", "--json"))
        assert {row["name"]: row["state"] for row in rows} == dict.fromkeys(NAMES, "alive")
        assert {row["name"]: row["id"] for row in rows} == {n.name: n.ready["id"] for n in five}
        assert [row["name"] for row in rows if row["self"]] == [node.name]
        assert {row["name"]: row["http"] for row in rows} == {n.name: n.ready["http"] for n in five}
        assert all(row["linked"] for row in rows) and {row["cluster"] for row in rows} == {"main"}
        places = {row["name"]: (row["zone"], row["tags"]) for row in rows}
        assert places["n1"] == ("east", []) and places["n5"] == ("west", ["gpu", "big"])
        assert all(row["rtt_ms"] > 0 for row in rows if not row["self"])


def test_the_ready_file_tells_the_truth(five: list[Running]) -> None:
    for node in five:
        told = json.loads(node.ready_file.read_text())
        assert set(told) >= {"id", "name", "addresses", "http", "ticket"}
        info: dict[str, Any] = {**node.client.node()}
        assert {key: info[key] for key in told} == told
        assert all(address.endswith(f"/p2p/{told['id']}") for address in told["addresses"])


# --- a capsule's way ----------------------------------------------------------------------------------------


def test_the_first_request_elects_and_the_second_does_not(five: list[Running]) -> None:
    publisher, asked = five[0], five[3]
    launched = launch(publisher, "first", env={"GREETING": "hi"})
    assert (launched["generation"], launched["changed"], launched["answered"]) == (1, True, None)
    assert len(launched["keepers"]) >= 2 and set(launched["keepers"]) <= set(NAMES)
    known(five, "first")
    assert elections(asked, "first") == 0 and not copies(asked, "first")

    answer = get(asked, "first", "/way")
    assert (answer.status, answer.text) == (200, "hi: /way\n")
    story = asked.client.why("first")
    assert story["missing"] == [] and {event["cause"] for event in story["events"]} == {story["cause"]}
    won = check_story(story["events"], asked.name)
    (copy,) = copies(asked, "first")
    assert (copy["node"], copy["slot"], copy["state"]) == (won["node"], 0, "active")

    before = elections(asked, "first")
    assert get(asked, "first", "/again").status == 200
    assert elections(asked, "first") == before


def check_story(events: list[Any], asked: str) -> Any:
    """The events of a cold request in their order; returns ``election.won``."""
    order = "request.parked election.called election.proposed election.ack election.won".split()
    seen = [event["event"] for event in events]
    assert [name for name in dict.fromkeys(seen) if name in order] == order
    first = {event["event"]: event for event in reversed(events)}
    won = first["election.won"]
    acks = {event["node"] for event in events if event["event"] == "election.ack"}
    assert len(won["acks"]) >= 3 and set(won["acks"]) <= acks <= set(NAMES)
    assert first["request.parked"]["node"] == asked == first["request.answered"]["node"]
    assert first["momentum.started"]["node"] == won["node"] == first["election.proposed"]["node"]
    return won


def test_a_cold_request_waits_once(five: list[Running]) -> None:
    """Whoever hears of the winner's claim finds its copy at once: nobody is sent there too early."""
    for number in range(20):
        name = f"once-{number}"
        launch(five[number % 5], name, call=True)
        waits = events_of(five[0], name, "request.parked", "request.answered")
        assert [wait["event"] for wait in waits] == ["request.parked", "request.answered"]


def test_why_names_who_acked(five: list[Running]) -> None:
    launch(five[1], "named", call=True)
    (won,) = events_of(five[2], "named", "election.won")
    told = falak(five[4], "why", "named")
    assert f"{len(won['acks'])} acks" in told, told
    for name in (won["node"], *won["acks"]):
        assert name in told, told


def test_every_gateway_answers_and_200_requests_spread(five: list[Running]) -> None:
    launch(five[2], "spread")
    known(five, "spread")
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda n: get(five[n % 5], "spread", "/x"), range(200)))
    assert Counter((a.status, a.text) for a in answers) == {(200, f"{GREETING}: /x\n"): 200}
    assert len(events_of(five[0], "spread", "election.won")) == 1
    (copy,) = copies(five[0], "spread")
    assert (copy["requests"], copy["errors"]) == (200, 0)
    for node in five:
        numbers = node.client.counters()["gateway"]["spread"]
        assert numbers["requests"] == (200 if node.name == copy["node"] else 40), node.name


def test_cold_for_all_at_once_is_one_copy(five: list[Running]) -> None:
    launch(five[0], "rush")
    known(five, "rush")
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda n: get(five[n % 5], "rush"), range(50)))
    assert {answer.status for answer in answers} == {200}
    until(lambda: len(copies(five[0], "rush")) == 1, "one copy is left")
    assert len({event["node"] for event in events_of(five[0], "rush", "election.won")}) == 1


# --- what cannot be --------------------------------------------------------------------------------------


def test_an_unknown_host_is_404_with_help(five: list[Running]) -> None:
    for node in five:
        for host in ("nobody.localhost", "nowhere.example"):
            answer = get_host(node.ready["http"], host)
            assert answer.status == 404
            assert host in answer.text and "NAME.localhost" in answer.text


def test_a_path_without_a_route_is_404_at_once(five: list[Running]) -> None:
    launch(five[0], "api", route=[{"host": "api.example", "prefix": "/v1"}])
    for node in five:
        wrong = get_host(node.ready["http"], "api.example", "/other", 5.0)
        assert wrong.status == 404 and "api has no route for this path at api.example" in wrong.text
    assert get_host(five[4].ready["http"], "api.example", "/v1/x", 15.0).status == 200
    launch(five[1], "api")
    until(lambda: get_host(five[3].ready["http"], "api.example", "/v1/x", 5.0).status == 404, "it was given up")
    launch(five[2], "heir", route=[{"host": "api.example"}])
    assert get_host(five[0].ready["http"], "api.example", "/v1/x", 15.0).status == 200


@pytest.mark.parametrize(
    ("name", "fields", "why"),
    [
        ("huge", {"resources": {"memory": "1TiB"}}, "memory"),
        ("wide", {"resources": {"cpu": 1024}}, "cores"),
        ("tagged", {"gravity": {"require": ["nobody-has-this"]}}, "nobody-has-this"),
        ("zoned", {"gravity": {"require": ["zone=north"]}}, "north"),
    ],
)
def test_what_fits_nowhere_is_refused_with_reasons(five, name: str, fields: dict[str, Any], why: str) -> None:
    launch(five[0], name, **fields)
    known(five, name)
    answer = get(five[1], name)
    assert answer.status == 503
    assert int(answer.header("retry-after") or 0) >= 1
    for node in NAMES:
        assert node in answer.text, answer.text
    assert answer.text.lower().count(why) >= len(NAMES), answer.text
    assert not copies(five[2], name)


# --- generations -------------------------------------------------------------------------------------------


def test_the_same_content_changes_nothing_and_new_content_is_served(five: list[Running]) -> None:
    launch(five[0], "twice", call=True, env={"GREETING": "one"})
    for node in five:
        same = launch(node, "twice", env={"GREETING": "one"})
        assert (same["generation"], same["changed"]) == (1, False), node.name
    second = launch(five[4], "twice", call=True, env={"GREETING": "two"})
    assert (second["generation"], second["changed"]) == (2, True)
    at_all(five, lambda node: get(node, "twice").text == "two: /\n", "it serves the second")
    until(lambda: [copy["generation"] for copy in copies(five[1], "twice")] == [2], "the first is gone")
    told = Counter(event["event"] for event in events_of(five[2], "twice"))
    assert (told["capsule.announced"], told["capsule.updated"]) == (5, 5)


def serves(node: Running, text: str) -> bool:
    return get(node, "moving").text == text


def test_no_request_is_lost_while_generations_change(five: list[Running]) -> None:
    launch(five[0], "moving", call=True, env={"GREETING": "1"})
    stop: list[bool] = []

    def ask(node: Running) -> Counter[str]:
        seen: Counter[str] = Counter()
        while not stop:
            answer = get(node, "moving")
            seen[answer.text if answer.status == 200 else f"{answer.status} {answer.text}"] += 1
        return seen

    with ThreadPoolExecutor(5) as pool:
        asking = [pool.submit(ask, node) for node in five]
        try:
            for generation in "234":
                launch(five[int(generation)], "moving", env={"GREETING": generation})
                at_all(five, partial(serves, text=f"{generation}: /\n"), f"it serves {generation}")
        finally:
            stop.append(True)
        seen = sum((task.result() for task in asking), Counter[str]())
    assert set(seen) == {f"{generation}: /\n" for generation in "1234"}, seen


# --- where a capsule runs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "require", "where"),
    [
        ("on-tag", ["gpu"], {"n5"}),
        ("on-tags", ["gpu", "big"], {"n5"}),
        ("in-west", ["zone=west"], {"n5"}),
        ("in-east", ["zone=east"], {"n1", "n2", "n3", "n4"}),
    ],
)
def test_what_a_capsule_requires_is_where_it_runs(five, name: str, require: list[str], where: set[str]) -> None:
    launch(five[0], name, call=True, gravity={"require": require})
    (copy,) = copies(five[1], name)
    assert copy["node"] in where


def test_what_a_capsule_prefers_is_a_term_of_gravity(five: list[Running]) -> None:
    launch(five[0], "prefers", call=True, gravity={"prefer": ["gpu", "nobody-has-this"]})
    proposed = events_of(five[1], "prefers", "election.proposed")
    assert proposed
    for event in proposed:
        assert event["terms"]["tags"] == (0.5 if event["node"] == "n5" else 0.0), event


def test_logs_and_failures_are_told_from_everywhere(five: list[Running]) -> None:
    launch(five[0], "probe", call=True, component=PROBE)
    assert get(five[1], "probe", "/stdout").status == 200
    lines = falak(five[3], "logs", "probe").splitlines()
    assert any("first line" in line for line in lines) and any("a complaint" in line for line in lines)
    assert get(five[2], "probe", "/trap").status == 500
    (copy,) = copies(five[4], "probe")
    assert copy["errors"] >= 1


# --- the commands of the contract -----------------------------------------------------------------------------


def test_listings_are_json_for_scripts(five: list[Running]) -> None:
    launch(five[0], "listed", call=True, version="1.2.3")
    (copy,) = [row for row in json.loads(falak(five[1], "ps", "--json")) if row["capsule"] == "listed"]
    assert (copy["version"], copy["state"]) == ("1.2.3", "active") and copy["node"] in NAMES
    (row,) = [row for row in json.loads(falak(five[2], "capsules", "--json")) if row["name"] == "listed"]
    told = [row[key] for key in ("version", "generation", "orbit", "kind", "runtime")]
    assert told == ["1.2.3", 1, "default", "function", "wasm"]
    lines = [json.loads(line) for line in falak(five[3], "events", "--json").splitlines()]
    assert all({"at", "node", "event", "cause"} <= set(line) for line in lines)
    names = {line["event"] for line in lines}
    assert {"node.join", "capsule.announced", "election.won", "momentum.started"} <= names


def test_a_ticket_of_any_node_lets_another_in(all_of_it: Mesh, five: list[Running]) -> None:
    launch(five[0], "for-guest", call=True)
    guest = all_of_it.up("guest", "--join", falak(five[4], "ticket").strip())
    until(lambda: set(states(guest)) == {*NAMES, "guest"}, "the guest knows all")
    at_all(five, lambda node: states(node).get("guest") == "alive", "it knows the guest")
    assert get(guest, "for-guest").status == 200
    assert guest.end() == 0
    at_all(five, lambda node: states(node)["guest"] == "left", "it knows that the guest left")


def test_nodes_start_no_process_that_stays(five: list[Running], tmp_path: Path) -> None:
    launch(five[0], "quiet", call=True, env={"GREETING": str(tmp_path)})
    at_all(five, lambda node: not children(node.process.pid), "it has no child")


def children(pid: int) -> list[str]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [child for task in tasks for child in (task / "children").read_text().split()]
