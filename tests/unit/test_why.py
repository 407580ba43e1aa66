"""Stories in plain words, from events as nodes record them."""

import re

import pytest

from falak.cli.why import tell
from falak.client.words import SAID, told, words_of

CAUSE = "1a2b3c4d5e6f7788"


def event(at_ms, node, kind, **fields):
    return {
        "n": 1,
        "at": 1000 + at_ms / 1000,
        "node": node,
        "event": kind,
        "cause": CAUSE,
        "capsule": "hello",
        **fields,
    }


TERMS = {"cpu": 0.9, "memory": 0.85, "latency": 0.99, "tags": 1.0, "locality": 1.0, "health": 1.0, "room": 1.0}
STORY = [
    event(0.0, "n2", "request.parked"),
    event(
        0.6,
        "n4",
        "election.called",
        slot=0,
        epoch=1,
        caller="n2",
        candidates=["n5", "n1"],
        gravities=[920_000, 880_000],
        electors=["n4", "n1", "n3", "n2", "n5"],
    ),
    event(0.9, "n5", "election.declined", slot=0, reason="needs 512 MiB of memory, 100 MiB are free"),
    event(1.1, "n1", "election.proposed", slot=0, epoch=1, rank=1, gravity=912_345, terms=TERMS),
    event(1.4, "n2", "election.ack", slot=0, epoch=1, candidate="n1", gravity=912_345),
    event(
        1.9, "n1", "election.won", slot=0, epoch=1, acks=["n4", "n1", "n3", "n2"], electors=5, gravity=912_345
    ),
    event(2.3, "n1", "momentum.started", slot=0, generation=3, load_ms=1.1),
    event(3.1, "n2", "request.answered", parked_ms=2.4, total_ms=3.0),
]
EXPECTED = """\
     0.0 ms  n2  parked a request: it knew nobody who runs the capsule
     0.6 ms  n4  called an election for n2: ranked n5 n1; electors n4 n1 n3 n2 n5
     0.9 ms  n5  declined: needs 512 MiB of memory, 100 MiB are free
     1.1 ms  n1  proposed itself, rank 2, with gravity 0.912
     1.4 ms  n2  acked n1
     1.9 ms  n1  won with 4 acks: n4 n1 n3 n2
     2.3 ms  n1  started generation 3, loaded in 1.1 ms
     3.1 ms  n2  answered: parked for 2.4 ms, first byte 3.0 ms after the request came in"""


def test_a_story_reads_as_it_happened():
    assert "\n".join(told(STORY, terms=False)) == EXPECTED


def test_terms_come_on_demand():
    lines = told(STORY, terms=True)
    at = next(at for at, line in enumerate(lines) if "proposed" in line)
    assert lines[at + 1].strip().startswith("cpu 0.90, memory 0.85, latency 0.99")
    assert lines[2].strip() == "taken for: n5 0.920, n1 0.880"
    assert len(lines) == len(STORY) + 2


def test_the_head_says_which_request():
    lines = tell({"capsule": "hello", "cause": CAUSE, "events": STORY, "missing": []}, False)
    assert re.fullmatch(rf"hello: what its request of \d\d:\d\d:\d\d\.000 set off \(cause {CAUSE}\)", lines[0])


def test_clocks_that_differ_are_said():
    events = [event(-5, "n4", "election.ack", candidate="n1"), *STORY]
    lines = tell({"capsule": "hello", "cause": CAUSE, "events": events, "missing": []}, False)
    assert "    -5.0 ms  n4  acked n1" in lines
    assert lines[-1].startswith("Times are each node's own clock's")


def test_nothing_takes_longer_than_its_line_says():
    """That a request was parked is recorded late where the node is busy: the story begins as it came in."""
    late = [STORY[0] | {"at": STORY[0]["at"] + 0.0009}, *STORY[1:-1], event(3.0, "n2", "request.answered")]
    late[-1] |= {"parked_ms": 2.9, "total_ms": 3.5}
    lines = told(late, terms=False)
    assert lines[0].startswith("     1.4 ms  n2  parked")
    assert (
        lines[-1] == "     3.5 ms  n2  answered: parked for 2.9 ms, first byte 3.5 ms after the request came in"
    )


@pytest.mark.parametrize(
    "acks, electors, said",
    [
        (["n1"], 1, "won with 1 ack: n1 (of 1 that vote: the mesh is too small for 3 acks)"),
        (["n1", "n2"], 3, "won with 2 acks: n1 n2 (of 3 that vote: the mesh is too small for 3 acks)"),
        (["n1", "n2", "n3"], 4, "won with 3 acks: n1 n2 n3"),
        (["n1", "n2", "n3"], 5, "won with 3 acks: n1 n2 n3"),
    ],
)
def test_a_small_mesh_is_said(acks, electors, said):
    assert words_of(event(0, "n1", "election.won", acks=acks, electors=electors)) == said


def test_later_epochs_and_slots_are_said():
    called = STORY[1] | {"epoch": 3, "slot": 2}
    assert words_of(called).startswith("called an election for slot 2 (epoch 3) for n2:")


@pytest.mark.parametrize("kind", sorted(SAID))
def test_an_event_of_another_version_is_shown_with_its_fields(kind):
    if kind == "request.parked":
        return
    assert words_of(event(0, "n1", kind, other=["a", "b"])) == f"{kind} other=a,b"


def test_an_event_without_a_sentence_is_shown_with_its_fields():
    assert words_of(event(0, "n1", "momentum.idle", after={"s": 1})) == "momentum.idle after=s:1"
