"""Nodes that end in the midst of elections, on purpose or not: nobody waits for ever, work goes on elsewhere.

Many cold capsules are asked for at once; the victim ends when the first of them was answered, so that the other
elections are under way. Its part in them is chosen: it convenes them, or is drawn to them more than others, or
holds the copies that requests go to.
"""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, islice
from threading import Event

import pytest

from falak.core.rendezvous import electors
from tests.asking import at_all, copies, get, known, launch, states
from tests.http1 import Answer
from tests.nodes import Mesh, Running, until

CAPSULES = 16
HELD = 5
ASKERS = 2
DEADLINE_S = 12.0
"""A call is refused after 9 s, parking ends a second later; the rest is for a busy machine."""
VICTIM_TAG = "victim"


@dataclass(frozen=True)
class Asked:
    """One request: what came of it, when it began and when it ended (monotonic seconds)."""

    capsule: str
    answer: Answer
    began_s: float
    ended_s: float


def grown(mesh: Mesh) -> tuple[Running, list[Running]]:
    """Five nodes: the victim (the third: neither the first to be joined nor the last), and the survivors."""
    nodes = [mesh.up(f"n{n}", *(["--tag", VICTIM_TAG] if n == 3 else [])) for n in range(1, 6)]
    mesh.settle(nodes)
    return nodes[2], nodes[:2] + nodes[3:]


def names_for(role: str, victim: Running, nodes: list[Running]) -> list[str]:
    """Names of capsules that the victim convenes; of any for the other roles."""
    ids = sorted(node.ready["id"] for node in nodes)
    names = (f"{role}{n}" for n in count())
    if role == "convener":
        names = (name for name in names if electors(name, ids)[0] == victim.ready["id"])
    return list(islice(names, CAPSULES))


def publish(role: str, names: list[str], by: Running, nodes: list[Running]) -> None:
    prefer = [] if role == "convener" else [VICTIM_TAG]
    for name in names:
        launch(by, name, gravity={"prefer": prefer})
    for name in names:
        known(nodes, name)


def ask_all(names: list[str], askers: list[Running], first_answered: Event) -> list[Asked]:
    """Ask for every capsule at every asker, all at once."""

    def ask(node: Running, name: str) -> Asked:
        began = time.monotonic()
        answer = get(node, name, within_s=DEADLINE_S)
        first_answered.set()
        return Asked(name, answer, began, time.monotonic())

    with ThreadPoolExecutor(len(names) * len(askers)) as pool:
        tasks = [pool.submit(ask, node, name) for name in names for node in askers]
        return [task.result() for task in tasks]


def check_answers(asked: list[Asked]) -> None:
    for one in asked:
        assert one.ended_s - one.began_s < DEADLINE_S
        if one.answer.status != 200:
            assert one.answer.status == 503 and one.answer.text and one.answer.header("retry-after"), one


def check_gone(victim: Running, survivors: list[Running], how: signal.Signals) -> None:
    """Everybody knows how the victim went, by state and by event."""
    state, event = ("dropped", "node.drop") if how == signal.SIGKILL else ("left", "node.leave")
    at_all(survivors, lambda node: states(node)[victim.name] == state, f"it knows the victim as {state}")
    for node in survivors:
        told = node.events("node.suspect", "node.drop", "node.leave")
        assert {item["member"] for item in told} == {victim.name}
        kinds = [item["event"] for item in told]
        assert kinds == (["node.suspect", event] if how == signal.SIGKILL else [event]), (node.name, kinds)


def check_back(mesh: Mesh, victim: Running, survivors: list[Running], name: str) -> None:
    """The victim starts again in its folder, without a ticket, and is who it was."""
    again = mesh.start(victim.name, "--tag", VICTIM_TAG, data=victim.data)
    until(again.serves, "the victim serves again", 20)
    assert again.ready["id"] == victim.ready["id"]
    at_all([*survivors, again], lambda node: set(states(node).values()) == {"alive"}, "it sees all alive")
    assert get(again, name).status == 200


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("role", ["convener", "candidate"])
def test_a_node_ends_while_many_are_elected(mesh: Mesh, role: str, how: signal.Signals) -> None:
    victim, survivors = grown(mesh)
    nodes = [*survivors, victim]
    names = names_for(role, victim, nodes)
    publish(role, names, survivors[0], nodes)
    started = Event()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask_all, names, survivors[:ASKERS], started)
        assert started.wait(DEADLINE_S)
        ends_s = time.monotonic()
        victim.end(how)
        asked = asking.result()
    assert sum(one.ended_s > ends_s for one in asked) > len(asked) // 4, "the elections were over already"
    check_answers(asked)
    refused = [one for one in asked if one.answer.status != 200]
    assert len(refused) <= len(asked) // 8, f"{len(refused)} of {len(asked)} refused: {refused[:3]}"
    check_gone(victim, survivors, how)
    for name in names:
        for node in survivors:
            assert get(node, name).status == 200, (node.name, name)
        assert all(copy["node"] != victim.name for copy in copies(survivors[0], name))
    check_back(mesh, victim, survivors, names[0])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_the_holder_ends_under_load(mesh: Mesh, how: signal.Signals) -> None:
    nodes = mesh.grow(5)
    names = [f"held{n}" for n in range(HELD)]
    for name in names:
        launch(nodes[0], name, call=True)
        known(nodes, name)
    holders = [copies(nodes[0], name)[0]["node"] for name in names]
    victim = max(nodes, key=lambda node: holders.count(node.name))
    survivors = [node for node in nodes if node is not victim]
    stop, some = Event(), Event()

    def ask(node: Running, name: str) -> list[Asked]:
        asked = []
        while not stop.is_set():
            began = time.monotonic()
            asked.append(Asked(name, get(node, name, within_s=DEADLINE_S), began, time.monotonic()))
            some.set()
        return asked

    with ThreadPoolExecutor(len(names) * len(survivors)) as pool:
        tasks = [pool.submit(ask, node, name) for node in survivors for name in names]
        try:
            assert some.wait(DEADLINE_S)
            victim.end(how)
            check_gone(victim, survivors, how)
            until(lambda: all(copies(survivors[0], name) for name in names), "all run elsewhere")
        finally:
            stop.set()
        asked = [one for task in tasks for one in task.result()]
    check_answers(asked)
    lost = [one for one in asked if one.answer.status != 200]
    assert len(lost) <= len(asked) // 20, f"{len(lost)} of {len(asked)} refused: {lost[:3]}"
    check_back(mesh, victim, survivors, names[0])


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_holder_that_stands_still_is_followed(mesh: Mesh, count: int) -> None:
    """Nobody refuses it a link and nothing of it is closed: for seconds only those who asked it know better."""
    nodes = mesh.grow(count)
    launch(nodes[0], "held", call=True)
    known(nodes, "held")
    for node in nodes:
        assert get(node, "held").status == 200  # all know where it runs
    (copy,) = copies(nodes[0], "held")
    (holder,) = (node for node in nodes if node.name == copy["node"])
    others = [node for node in nodes if node is not holder]
    holder.process.send_signal(signal.SIGSTOP)
    try:
        asked = ask_all(["held"], others, Event())
    finally:
        holder.process.send_signal(signal.SIGCONT)
    assert [one.answer.status for one in asked] == [200] * len(others), [one.answer.text for one in asked]
    at_all(nodes, lambda node: set(states(node).values()) == {"alive"}, "it sees all alive again")
    until(lambda: len(copies(nodes[0], "held")) == 1, "one of the two copies has given way")
    for node in nodes:
        assert get(node, "held").status == 200


def test_told_to_end_again_and_again_it_ends_well(mesh: Mesh) -> None:
    node = mesh.up("n1")
    while node.process.poll() is None:
        node.process.send_signal(signal.SIGTERM)
    assert node.process.returncode == 0, node.said()
