"""Claims on one slot are in a total order, and directories that heard the same words in any order agree."""

import itertools

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from falak.core import wire
from falak.core.model import Capacity, Claim
from falak.core.standing import standing
from tests.unit.core.rig import Rig, claim, record

small = st.integers(0, 3)
claims = st.builds(
    Claim,
    capsule=st.just("c"),
    generation=small,
    slot=st.just(0),
    holder=st.sampled_from(["n2-id", "n3-id", "n4-id"]),
    boot=small,
    sequence=small,
    epoch=small,
    gravity=small,
    ready=st.booleans(),
    cause=st.sampled_from(["", "x", "y"]),
)


@given(st.lists(claims, min_size=2, max_size=3))
def test_standing_is_a_total_order(some: list[Claim]) -> None:
    for one, other in itertools.permutations(some, 2):
        assert (standing(one) < standing(other)) + (standing(one) > standing(other)) + (
            standing(one) == standing(other)
        ) == 1
    for one, two, three in itertools.permutations((*some, some[0])[:3], 3):
        if standing(one) <= standing(two) <= standing(three):
            assert standing(one) <= standing(three)


@given(claims, st.sampled_from(["", "x", "y"]), st.booleans())
def test_standing_uses_only_what_makes_a_claim_another(one: Claim, cause: str, ready: bool) -> None:
    """Words that differ in ``cause`` or ``ready`` alone are one holder's, told apart by their sequence."""
    other = Claim(
        one.capsule,
        one.generation,
        one.slot,
        one.holder,
        one.boot,
        one.sequence,
        one.epoch,
        one.gravity,
        ready,
        cause,
    )
    assert standing(one) == standing(other)


class Directories(RuleBasedStateMachine):
    """Holders say words in their own order; the network gives them to three electors in any order, any number
    of times. When everything was given at least once and holders answered, the directories are equal."""

    HOLDERS = ("n2", "n3", "n4")

    @initialize()
    def begin(self) -> None:
        self.electors = []
        for _ in range(3):
            rig = Rig()
            rig.begin()
            rig.meet(*self.HOLDERS)
            rig.know(record("c"))
            self.electors.append(rig)
        self.sequence = dict.fromkeys(self.HOLDERS, 0)
        self.held: dict[str, Claim] = {}
        self.words: list[tuple[str, wire.Message]] = []
        self.told: list[set[int]] = [set(), set(), set()]

    @rule(
        holder=st.sampled_from(HOLDERS), epoch=st.integers(1, 3), gravity=st.integers(1, 3), ready=st.booleans()
    )
    def claims(self, holder: str, epoch: int, gravity: int, ready: bool) -> None:
        self.sequence[holder] += 1
        old = self.held.get(holder)
        epoch, gravity = (old.epoch, old.gravity) if old else (epoch, gravity)
        word = claim("c", holder, epoch=epoch, gravity=gravity, sequence=self.sequence[holder], ready=ready)
        self.held[holder] = word
        self.words.append((holder, wire.Claimed(word, Capacity())))

    @rule(holder=st.sampled_from(HOLDERS))
    def releases(self, holder: str) -> None:
        held = self.held.pop(holder, None)
        if held is None:
            return
        self.sequence[holder] += 1
        word = claim("c", holder, epoch=held.epoch, gravity=held.gravity, sequence=self.sequence[holder])
        self.words.append((holder, wire.Released(word, "over")))

    @rule(data=st.data(), elector=st.integers(0, 2))
    def hears(self, data: st.DataObject, elector: int) -> None:
        if self.words:
            which = data.draw(st.integers(0, len(self.words) - 1))
            self.give(elector, which)

    def give(self, elector: int, which: int) -> None:
        holder, word = self.words[which]
        self.told[elector].add(which)
        self.electors[elector].hear(holder, word)

    @invariant()
    def at_most_one_holder(self) -> None:
        for rig in getattr(self, "electors", []):
            assert len(rig.node.claims.live("c")) <= 1

    def teardown(self) -> None:
        """Whoever was not told is; unacknowledged claims come again, as their holders' timers see to."""
        for elector, rig in enumerate(getattr(self, "electors", [])):
            for which in range(len(self.words)):
                if which not in self.told[elector]:
                    self.give(elector, which)
            for holder, held in self.held.items():
                rig.hear(holder, wire.Claimed(held, Capacity()))
        if getattr(self, "electors", []):
            best = max(self.held.values(), key=standing, default=None)
            wanted = [best] if best else []
            assert [rig.node.claims.live("c") for rig in self.electors] == [wanted] * 3


TestDirectories = Directories.TestCase
