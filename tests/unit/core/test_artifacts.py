"""Artifacts from nothing to prepared: from several peers, once at a time, given up after a few."""

from falak.core.artifacts import HERE, NOTHING, PREPARED, Artifacts
from falak.core.effects import Fetch, Note, Prepare
from falak.core.events import Fetched, Prepared
from falak.core.settings import Settings
from falak.core.turn import Turn
from tests.unit.core.rig import ARTIFACT

DIGEST = ARTIFACT.digest


class Room:
    """The room with what it told."""

    def __init__(self) -> None:
        self.turn = Turn("n1", 1)
        self.told: list[tuple[str, str, bool]] = []
        self.artifacts = Artifacts(self.turn, Settings(), lambda *change: self.told.append(change))

    def want(self, *sources: str, prepare: bool = True) -> None:
        self.artifacts.want(ARTIFACT, "wasm", sources, prepare)

    def took(self) -> list[object]:
        taken, self.turn.effects = self.turn.effects, []
        return list(taken)


def test_fetched_then_prepared() -> None:
    room = Room()
    room.want("n2")
    assert room.took() == [Fetch(ARTIFACT, "n2")] and room.artifacts.level(DIGEST) == NOTHING
    room.artifacts.fetched(Fetched(DIGEST, "n2"))
    assert room.took() == [Prepare(ARTIFACT, "wasm")] and room.artifacts.level(DIGEST) == HERE
    room.artifacts.prepared(Prepared(DIGEST))
    assert room.artifacts.level(DIGEST) == PREPARED and room.told == [(DIGEST, "", False)] * 2


def test_a_keeper_that_is_no_candidate_does_not_prepare() -> None:
    room = Room()
    room.want("n2", prepare=False)
    room.artifacts.fetched(Fetched(DIGEST, "n2"))
    assert room.took() == [Fetch(ARTIFACT, "n2")] and room.artifacts.level(DIGEST) == HERE
    room.want("n2")
    assert room.took() == [Prepare(ARTIFACT, "wasm")]


def test_what_is_on_disk_is_not_fetched() -> None:
    room = Room()
    room.artifacts.found([DIGEST])
    room.want("n2")
    assert room.took() == [Prepare(ARTIFACT, "wasm")]


def test_wanting_again_adds_sources_and_starts_nothing_twice() -> None:
    room = Room()
    room.want("n2")
    room.want("n2", "n3", "n1")
    assert room.took() == [Fetch(ARTIFACT, "n2")]
    room.artifacts.fetched(Fetched(DIGEST, "n2", "gone"))
    assert room.took() == [Fetch(ARTIFACT, "n3")]


def test_given_up_after_three_peers_with_the_last_reason() -> None:
    room = Room()
    room.want("n2", "n3")
    for peer in ("n2", "n3", "n2"):
        assert room.took() == [Fetch(ARTIFACT, peer)]
        room.artifacts.fetched(Fetched(DIGEST, peer, f"not at {peer}"))
    assert room.took() == [] and room.told == [(DIGEST, "not at n2", False)]
    room.want("n4")  # somebody wants it anew
    assert room.took() == [Fetch(ARTIFACT, "n4")]


def test_nobody_to_fetch_from_is_told_at_once() -> None:
    room = Room()
    room.want("n1")
    assert room.told == [(DIGEST, "no peer that has it could be reached", False)]


def test_a_bad_artifact_is_the_capsules_fault() -> None:
    room = Room()
    room.artifacts.found([DIGEST])
    room.want()
    room.artifacts.prepared(Prepared(DIGEST, "not a component", True))
    assert room.told == [(DIGEST, "not a component", True)] and room.artifacts.level(DIGEST) == HERE


def test_a_damaged_artifact_is_fetched_again_from_whoever_has_it() -> None:
    room = Room()
    room.artifacts.found([DIGEST])
    room.want("n2")
    assert room.took() == [Prepare(ARTIFACT, "wasm")]
    room.artifacts.prepared(Prepared(DIGEST, "damaged on this disk", damaged=True))
    note, fetch = room.took()
    assert fetch == Fetch(ARTIFACT, "n2") and room.artifacts.level(DIGEST) == NOTHING
    assert note == Note("artifact.damaged", "", (("digest", DIGEST), ("reason", "damaged on this disk")))
    room.artifacts.fetched(Fetched(DIGEST, "n2"))
    room.artifacts.prepared(Prepared(DIGEST))
    assert room.artifacts.level(DIGEST) == PREPARED and room.told == [(DIGEST, "", False)] * 2


def test_a_damaged_artifact_that_nobody_has_is_told_with_both_reasons() -> None:
    room = Room()
    room.artifacts.found([DIGEST])
    room.want("n1")
    room.artifacts.prepared(Prepared(DIGEST, "damaged", damaged=True))
    assert room.told == [(DIGEST, "damaged; no peer that has it could be reached", False)]


def test_a_disk_that_damages_everything_is_given_up() -> None:
    room = Room()
    room.want("n2", "n3", "n4", "n5")
    for _ in range(3):
        (fetch,) = (effect for effect in room.took() if isinstance(effect, Fetch))
        room.artifacts.fetched(Fetched(DIGEST, fetch.peer))
        room.artifacts.prepared(Prepared(DIGEST, "damaged", damaged=True))
    assert room.told[-1] == (DIGEST, "damaged; it could not be fetched", False)
    assert not [effect for effect in room.took() if isinstance(effect, Fetch)]


def test_what_was_prepared_and_is_of_no_use_is_prepared_again() -> None:
    room = Room()
    room.artifacts.found([DIGEST])
    room.want()
    room.artifacts.prepared(Prepared(DIGEST))
    room.took()
    room.artifacts.fall(DIGEST, HERE, "changed")
    room.artifacts.fall(DIGEST, HERE, "changed")
    assert room.artifacts.level(DIGEST) == HERE and len(room.took()) == 1
    room.want()
    assert room.took() == [Prepare(ARTIFACT, "wasm")]


def test_ends_that_nobody_waits_for_do_no_harm() -> None:
    room = Room()
    room.artifacts.fetched(Fetched(DIGEST, "n2", "late"))
    room.artifacts.prepared(Prepared("b" * 64))
    room.artifacts.fetched(Fetched(DIGEST, "n2"))
    assert room.artifacts.level(DIGEST) == HERE and room.artifacts.level("b" * 64) == PREPARED


def test_age_counts_from_the_level_reached_last() -> None:
    room = Room()
    room.artifacts.found([DIGEST])
    room.turn.now = 10.0
    assert room.artifacts.age_s(DIGEST) == 10.0
    room.want()
    room.artifacts.prepared(Prepared(DIGEST))
    assert room.artifacts.age_s(DIGEST) == 0.0 and room.artifacts.age_s("unknown") == 0.0
