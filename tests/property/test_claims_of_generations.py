"""Electors that hear of claims of two generations in any order come to list the same, and the newer stays.

Holders of the older generation serve until one of the newer is ready; a newer one may come to nothing.
"""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from falak.core import wire
from falak.core.model import Capacity, Claim
from tests.unit.core.rig import Rig, claim, record, signed

HOLDERS = ("n2", "n3", "n4")


class Generations(RuleBasedStateMachine):
    """Two electors; each holder says words about its one slot, which the network gives in its own order to each."""

    @initialize()
    def begin(self) -> None:
        self.electors: list[Rig] = []
        for _ in range(2):
            rig = Rig()
            rig.begin()
            rig.meet(*HOLDERS)
            rig.know(record("c"))
            rig.hear("n2", wire.Announce(signed(record("c", 2))))
            self.electors.append(rig)
        self.words: list[tuple[str, wire.Message]] = []
        self.told: list[set[int]] = [set(), set()]
        self.held: dict[str, Claim] = {}
        self.sequence = dict.fromkeys(HOLDERS, 0)

    def say(self, holder: str, word: Claim, ended: bool = False) -> None:
        message = wire.Released(word, "over") if ended else wire.Claimed(word, Capacity())
        self.words.append((holder, message))

    def next(self, holder: str) -> int:
        self.sequence[holder] += 1
        return self.sequence[holder]

    @rule(holder=st.sampled_from(HOLDERS), generation=st.integers(1, 2), ready=st.booleans())
    def claims(self, holder: str, generation: int, ready: bool) -> None:
        before = self.held.get(holder)
        if before and before.generation > generation:
            return
        word = claim("c", holder, generation=generation, ready=ready, sequence=self.next(holder))
        self.held[holder] = word
        self.say(holder, word)

    @rule(holder=st.sampled_from(HOLDERS))
    def ends(self, holder: str) -> None:
        before = self.held.pop(holder, None)
        if before:
            word = claim("c", holder, generation=before.generation, ready=False, sequence=self.next(holder))
            self.say(holder, word, ended=True)

    @rule(data=st.data(), elector=st.integers(0, 1))
    def hears(self, data: st.DataObject, elector: int) -> None:
        if self.words:
            self.give(elector, data.draw(st.integers(0, len(self.words) - 1)))

    def give(self, elector: int, which: int) -> None:
        self.told[elector].add(which)
        holder, word = self.words[which]
        self.electors[elector].hear(holder, word)

    @invariant()
    def what_is_listed_makes_sense(self) -> None:
        for rig in getattr(self, "electors", []):
            claims = rig.node.claims
            assert all(c.generation == 2 for c in claims.live("c")) and len(claims.live("c")) <= 1
            assert all(c.generation == 1 and c.ready for c in claims.older("c"))
            assert not (claims.ready("c") and claims.older("c")), "a newer one answers: the older is over"
            assert claims.sizes()["claims"][0] == len(claims.all())

    def teardown(self) -> None:
        """Whoever was not told is, and holders say again what they hold, as their timers see to."""
        for elector, rig in enumerate(getattr(self, "electors", [])):
            for which in range(len(self.words)):
                if which not in self.told[elector]:
                    self.give(elector, which)
            for _ in range(2):
                for holder, word in sorted(self.held.items()):
                    rig.hear(holder, wire.Claimed(word, Capacity()))
        newer = [word for word in getattr(self, "held", {}).values() if word.generation == 2]
        for rig in getattr(self, "electors", []):
            live = rig.node.claims.live("c")
            assert bool(live) == bool(newer)
            assert not live or live[0] in newer


TestGenerations = Generations.TestCase
