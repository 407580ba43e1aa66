"""Whatever is said of a member, by whom and in which order: who lives and is heard is soon alive again, who is gone
is dropped, and no one liar changes anything.

Each rule is one thing that may happen to a node of seven; a failing run reads as the list of them.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from falak.core import events as ev
from falak.core import wire
from falak.core.model import ALIVE, DROPPED, LEFT, SUSPECT
from tests.unit.core.rig import Rig, profile

NAMES = [f"n{i}" for i in range(2, 8)]
LIAR = "n7"
names = st.sampled_from(NAMES[:-1])


class Members(RuleBasedStateMachine):
    """n1 is real; n2 to n6 are honest, each killed at most once; n7 says what it likes."""

    @initialize()
    def begin(self) -> None:
        self.rig = Rig()
        self.rig.begin()
        self.rig.meet(*NAMES)
        self.incarnation = dict.fromkeys(NAMES, 1)
        self.dead: set[str] = set()
        self.linked = set(NAMES)
        self.accused: set[str] = set()

    def state(self, name: str) -> str:
        return self.rig.node.members.members[f"{name}-id"].state

    def alive(self) -> tuple[str, ...]:
        return tuple(name for name in NAMES if name not in self.dead)

    def beat(self, name: str) -> None:
        said = profile(name, incarnation=self.incarnation[name])
        self.rig.hear(name, wire.Heartbeat(said, 1))

    @rule(name=names)
    def is_killed(self, name: str) -> None:
        if name not in self.dead and len(self.dead) < 3:
            self.dead.add(name)
            if name in self.linked:
                self.linked.discard(name)
                self.rig.tell(ev.LinkDown(f"{name}-id", "closed"))
            self.rig.tell(ev.DialFailed(f"{name}-id", f"/{name}", True, "refused"))

    @rule(name=names)
    def loses_its_link(self, name: str) -> None:
        if name in self.linked:
            self.linked.discard(name)
            self.rig.tell(ev.LinkDown(f"{name}-id", "reset"))
            self.rig.tell(ev.DialFailed(f"{name}-id", f"/{name}", False, "timed out"))

    @rule(name=names)
    def is_linked_again(self, name: str) -> None:
        if name not in self.linked and name not in self.dead:
            self.linked.add(name)
            self.rig.meet(name, incarnation=self.incarnation[name])

    @rule(name=names, on=st.booleans())
    def falls_silent_or_is_back(self, name: str, on: bool) -> None:
        if name in self.linked:
            self.rig.tell(ev.PeerSilent(f"{name}-id", 1.0) if on else ev.PeerBack(f"{name}-id"))

    @rule(by=names, name=names, kind=st.sampled_from(["closed", "silent"]))
    def is_accused(self, by: str, name: str, kind: str) -> None:
        if by not in self.dead:
            self.accused.add(name)
            self.rig.hear(by, wire.Accused(f"{name}-id", 1, self.incarnation[name], kind))  # type: ignore

    @rule(name=names, kind=st.sampled_from(["closed", "silent"]), off=st.integers(-1, 2))
    def is_lied_about(self, name: str, kind: str, off: int) -> None:
        said = wire.Accused(f"{name}-id", 1, max(0, self.incarnation[name] + off), kind)  # type: ignore
        self.rig.hear(LIAR, said)

    @rule(helper=names, name=names, heard=st.booleans())
    def helper_answers(self, helper: str, name: str, heard: bool) -> None:
        if helper not in self.dead and not (heard and name in self.dead):
            self.rig.hear(helper, wire.Probed(f"{name}-id", heard))

    @rule(name=names)
    def refutes(self, name: str) -> None:
        if name not in self.dead:
            self.incarnation[name] += 1
            self.beat(name)

    @rule(name=names)
    def answers(self, name: str) -> None:
        if name in self.linked and name not in self.dead:
            self.rig.hear(name, wire.Pong(round(self.rig.now * 1e6)))

    @rule(seconds=st.sampled_from([0.0, 0.6, 2.5]))
    def stalls(self, seconds: float) -> None:
        self.rig.now += seconds
        self.rig.tell(ev.Stalled(seconds))

    @rule(seconds=st.sampled_from([0.05, 0.5, 1.5]))
    def time_passes(self, seconds: float) -> None:
        self.rig.wait(seconds)
        for name in self.alive():
            self.beat(name)

    @invariant()
    def states_are_of_the_table_and_what_is_kept_is_bounded(self) -> None:
        if not hasattr(self, "rig"):
            return
        members = self.rig.node.members
        for peer, member in members.members.items():
            assert member.state in (ALIVE, SUSPECT, DROPPED, LEFT)
            assert (peer in members.present()) == (member.state in (ALIVE, SUSPECT))
            assert not (members.usable(peer) and member.state != ALIVE)
            assert not (members.reachable(peer) and not member.linked)
        for peer in members.suspicion._cases:
            assert members.members[peer].state in (ALIVE, SUSPECT), "evidence is kept of one that is gone"
        for name, (size, limit) in self.rig.node.sizes().items():
            assert size <= limit, name

    @invariant()
    def a_lie_alone_suspends_nobody(self) -> None:
        if hasattr(self, "rig"):
            for case in self.rig.node.members.suspicion._cases.values():
                assert not case.since or case.own or len(case.accusers) > 1

    def teardown(self) -> None:
        """Every link heals, every beat is back, the living go on: they are alive, the dead are dropped."""
        if not hasattr(self, "rig"):
            return
        for name in self.alive():
            self.is_linked_again(name)
            if name in self.linked:
                self.rig.tell(ev.PeerBack(f"{name}-id"))
        for name in self.alive():
            self.incarnation[name] += 1
        for _ in range(14):
            self.rig.wait(1.0)
            for name in self.alive():
                self.beat(name)
        for name in NAMES:
            assert self.state(name) == (DROPPED if name in self.dead else ALIVE), name


Members.TestCase.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)
TestMembers = Members.TestCase
