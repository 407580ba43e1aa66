"""The ring of visible events."""

from falak.api.notes import KEPT_MAX, Notes
from falak.core.effects import Note


def test_items_are_numbered_named_and_timed() -> None:
    notes = Notes("n1")
    notes.add(Note("node.join", "", (("node", "n2"),)))
    notes.add(Note("election.won", "abc", (("capsule", "hello"), ("slot", 0))))
    first, second = notes.after(0)
    assert (first["n"], first["node"], first["event"], first["member"]) == (1, "n1", "node.join", "n2")
    assert (second["n"], second["cause"], second["capsule"], second["slot"]) == (2, "abc", "hello", 0)
    assert first["at"] <= second["at"]


def test_what_is_after_a_number_and_of_a_capsule() -> None:
    notes = Notes("n1")
    for number in range(10):
        notes.add(Note("capsule.announced", "", (("capsule", "even" if number % 2 == 0 else "odd"),)))
    assert [item["n"] for item in notes.after(7)] == [8, 9, 10]
    assert [item["n"] for item in notes.after(10)] == []
    assert [item["n"] for item in notes.after(99)] == []
    assert [item["n"] for item in notes.after(4, "odd")] == [6, 8, 10]


def test_the_ring_is_bounded_and_numbers_go_on() -> None:
    notes = Notes("n1")
    for _ in range(KEPT_MAX + 5):
        notes.add(Note("capsule.announced", "", ()))
    kept = notes.after(0)
    assert (len(kept), kept[0]["n"], kept[-1]["n"]) == (KEPT_MAX, 6, KEPT_MAX + 5)
    assert [item["n"] for item in notes.after(KEPT_MAX + 3)] == [KEPT_MAX + 4, KEPT_MAX + 5]
