"""Records, in any order and over any ways: nodes that compared have the same, and handing on prolongs nothing."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from falak.core import effects as ef
from falak.core import wire
from falak.core.model import SignedRecord, decode_record
from tests.unit.core.rig import Rig, record, signed

NODES = 3
PEER = "n2"
"""What each node calls whichever other one it speaks with."""
TTL_S = 30


def made() -> Rig:
    rig = Rig()
    rig.begin()
    rig.meet(PEER)
    return rig


def words_of(rig: Rig) -> list[wire.Message]:
    return [e.message for e in rig.effects if isinstance(e, ef.Send) and isinstance(e.message, CARRIED)]


CARRIED = (wire.Compare, wire.Differs, wire.Records, wire.RecordsAsked)


def compare(one: Rig, other: Rig) -> None:
    """One round: all that the two say to each other until they are silent."""
    one.wait(0.2)
    other.wait(0.2)
    one.node.turn.effects = []
    one.node.sync.with_peer(f"{PEER}-id")
    one.effects = list(one.node.turn.effects)
    waiting = [(other, word) for word in words_of(one)]
    while waiting:
        rig, word = waiting.pop(0)
        back = one if rig is other else other
        rig.hear(PEER, word)
        waiting += [(back, answer) for answer in words_of(rig)]


def view(rig: Rig) -> dict[str, tuple[int, bytes]]:
    orbits = rig.node.orbits
    held = (*orbits.records.values(), *orbits.tombstones.values())
    return {one.record.name: (one.record.generation, one.digest) for one in held}


class Orbits(RuleBasedStateMachine):
    """Publications and withdrawals, heard by any node in any order, any number of times, or by none. When every
    two have compared, all have the newest of every name that anybody heard of."""

    @initialize()
    def begin(self) -> None:
        self.nodes = [made() for _ in range(NODES)]
        self.words: list[SignedRecord] = []
        self.heard: dict[str, tuple[int, bytes]] = {}

    @rule(
        name=st.sampled_from("ab"),
        generation=st.integers(1, 4),
        version=st.sampled_from("xy"),
        withdrawn=st.booleans(),
    )
    def publish(self, name: str, generation: int, version: str, withdrawn: bool) -> None:
        self.words.append(signed(record(name, generation, version=version, withdrawn=withdrawn)))

    @rule(data=st.data(), node=st.integers(0, NODES - 1), handed=st.booleans())
    def hear(self, data: st.DataObject, node: int, handed: bool) -> None:
        if self.words:
            which = data.draw(st.integers(0, len(self.words) - 1))
            word = self.words[which]
            self.nodes[node].hear(PEER, wire.Records((word,)) if handed else wire.Announce(word))
            what = record_of(word)
            self.heard[what[0]] = max(self.heard.get(what[0], (0, b"")), (what[1], word.digest))

    @rule(one=st.integers(0, NODES - 1), other=st.integers(0, NODES - 1))
    def compares(self, one: int, other: int) -> None:
        if one != other:
            compare(self.nodes[one], self.nodes[other])

    @invariant()
    def a_name_has_a_record_or_a_tombstone(self) -> None:
        for rig in getattr(self, "nodes", []):
            orbits = rig.node.orbits
            assert not orbits.records.keys() & orbits.tombstones.keys()
            assert len(orbits.inventory) == len(orbits.records) + len(orbits.tombstones)

    def teardown(self) -> None:
        nodes = getattr(self, "nodes", [])
        for one in (*nodes, *nodes):
            for other in nodes:
                if one is not other:
                    compare(one, other)
        for rig in nodes:
            assert view(rig) == self.heard


def record_of(word: SignedRecord) -> tuple[str, int]:
    what = decode_record(word.data)
    return what.name, what.generation


class Previews(RuleBasedStateMachine):
    """A preview whose publisher renews it at times, and then no more. However nodes hand it to one another: none
    has it longer than its ttl after the last renewal that anybody heard."""

    @initialize()
    def begin(self) -> None:
        self.nodes = [made() for _ in range(NODES)]
        self.word = signed(record("preview", ttl_s=TTL_S, keep=False), f"{PEER}-id")
        self.counter = 0
        self.nodes[0].hear(PEER, wire.Announce(self.word))
        self.renewed_at = self.nodes[0].now

    @rule(seconds=st.sampled_from([1.0, 7.0, 20.0]))
    def wait(self, seconds: float) -> None:
        until = max(rig.now for rig in self.nodes) + seconds
        for rig in self.nodes:
            rig.wait(until - rig.now, alive=(PEER,))

    @rule(hearers=st.sets(st.integers(0, NODES - 1), min_size=1))
    def renew(self, hearers: set[int]) -> None:
        self.counter += 1
        for node in sorted(hearers):
            rig = self.nodes[node]
            had = "preview" in rig.node.orbits.records
            rig.hear(PEER, wire.Renewals(((self.word.digest, self.counter),)))
            if had:
                self.renewed_at = max(self.renewed_at, rig.now)

    @rule(node=st.integers(0, NODES - 1))
    def hear_the_last_renewal_again(self, node: int) -> None:
        if self.counter:
            rig = self.nodes[node]
            before = rig.node.orbits.presence.visible("preview").counter
            rig.hear(PEER, wire.Renewals(((self.word.digest, self.counter),)))
            if rig.node.orbits.presence.visible("preview").counter > before:
                self.renewed_at = max(self.renewed_at, rig.now)

    @rule(one=st.integers(0, NODES - 1), other=st.integers(0, NODES - 1))
    def compares(self, one: int, other: int) -> None:
        if one != other:
            compare(self.nodes[one], self.nodes[other])

    @invariant()
    def none_outlives_its_time(self) -> None:
        for rig in getattr(self, "nodes", []):
            if rig.now > self.renewed_at + TTL_S + 2.0:
                assert "preview" not in rig.node.orbits.records


TestOrbits = Orbits.TestCase
TestOrbits.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestPreviews = Previews.TestCase
TestPreviews.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
