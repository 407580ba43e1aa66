"""A caller: finds who answers for a capsule that requests wait for, and gives the gateway its endpoints.

Owns this node's calls under way, the answers it believes, and what the gateway was last told. It asks electors
and elects nobody. The rules (docs/concepts/elections.md): one call a capsule, to the first elector that can be
reached; "heard" stops the hedge; a hedge to the next elector after a patience learnt from earlier calls, out of
a budget, then back-off with jitter. An elector that becomes suspect or loses its link, and one whose answer is
of no use, is followed by the next at once. An answer is believed until its holder is suspect, ends, or says
"not here".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from falak.core.delays import Delays
from falak.core.effects import Endpoint, Refuse, SetEndpoints
from falak.core.events import Answered
from falak.core.membership import Membership
from falak.core.model import Capacity, Claim, slots_max
from falak.core.momentum import Momentum
from falak.core.orbits import Orbits
from falak.core.settings import Settings
from falak.core.turn import Turn
from falak.core.wire import Call, Heard, Holders, Refused, Unknown

COST_OF_A_HOP: Final = 1
"""What another node's endpoint costs against a local copy, in requests in flight, plus its ms away."""
BELIEVED_MAX: Final = 16_384
"""Capsules whose holders are remembered; beyond it the one asked for longest ago is asked for again."""


class _Calling(msgspec.Struct):
    """``tried``: electors asked in this round; ``handed``: electors that were given the record."""

    cause: str
    began_at: float
    tries: int = 0
    asked_at: float = 0.0
    asked: str = ""
    heard: bool = False
    tried: set[str] = msgspec.field(default_factory=set)
    handed: set[str] = msgspec.field(default_factory=set)


class Calls:
    """The room."""

    def __init__(
        self,
        turn: Turn,
        settings: Settings,
        delays: Delays,
        members: Membership,
        orbits: Orbits,
        momentum: Momentum,
        capacity: Callable[[], Capacity],
    ) -> None:
        self._turn, self._settings, self._delays = turn, settings, delays
        self._members, self._orbits, self._momentum = members, orbits, momentum
        self._capacity = capacity
        self._calling: dict[str, _Calling] = {}
        self._believed: dict[str, dict[tuple[str, int], Claim]] = {}
        self._not_here: dict[tuple[str, str], tuple[int, int]] = {}
        self._told: dict[str, tuple[Endpoint, ...]] = {}
        self._before_joined: dict[str, None] = {}
        self._last_cause: dict[str, str] = {}
        self._hedges = settings.hedge_burst

    def sizes(self) -> dict[str, tuple[int, int]]:
        """What is under way and remembered here, and its limit, by name."""
        return {
            "calls": (len(self._calling) + len(self._before_joined), self._settings.calls_max),
            "capsules believed": (len(self._believed), BELIEVED_MAX),
            "capsules not here": (len(self._not_here), BELIEVED_MAX),
            "causes": (len(self._last_cause), self._settings.records_max),
        }

    # --- requests wait -----------------------------------------------------------------------------------

    def wanted(self, capsule: str) -> None:
        """Requests are parked for a capsule (whose record is known here) and the gateway has nobody to give
        them to."""
        self._told.pop(capsule, None)
        self._tell_gateway(capsule)
        if capsule in self._told or capsule in self._calling or capsule in self._before_joined:
            return
        if len(self._calling) + len(self._before_joined) >= self._settings.calls_max:
            self._turn.do(Refuse(capsule, 503, "this node waits for too many capsules at once; try again", 1))
        elif not self._members.joined:
            self._before_joined[capsule] = None
        else:
            self._call(capsule)

    def _call(self, capsule: str) -> None:
        call = self._calling[capsule] = _Calling(self._turn.cause(), self._turn.now)
        self._last_cause[capsule] = call.cause
        self._turn.note("request.parked", call.cause, capsule=capsule)
        self._hedges = min(self._settings.hedge_burst, self._hedges + self._settings.hedge_budget)
        self._turn.after(self._settings.call_deadline_s, "calls", "deadline", capsule)
        self._try(capsule, call)

    def joined(self) -> None:
        """Requests that came before this node was part of the mesh are seen to now."""
        waiting, self._before_joined = self._before_joined, {}
        for capsule in waiting:
            self.wanted(capsule)

    def forgone(self, capsule: str) -> None:
        """Nobody waits any more."""
        self._before_joined.pop(capsule, None)
        self._end(capsule)

    def _try(self, capsule: str, call: _Calling) -> None:
        """Ask the next elector: the first that can be reached and was not asked in this round."""
        electors = [e for e in self._orbits.electors_of(capsule) if self._members.reachable(e)]
        if call.tried.issuperset(electors):
            call.tried.clear()
        call.tries += 1
        call.asked = next((e for e in electors if e not in call.tried), "")
        call.asked_at, call.heard = self._turn.now, False
        self._turn.after(self._patience_s(call), "calls", "hedge", capsule)
        if call.asked:
            call.tried.add(call.asked)
            self._turn.send(call.asked, Call(capsule, call.cause, self._capacity()))

    def _patience_s(self, call: _Calling) -> float:
        rtt_s = self._members.trips.seconds(call.asked) or self._settings.rtt_s
        first = max(3.5 * rtt_s + self._settings.hedge_floor_s, self._delays.patience("heard"))
        wait = first * 2.0 ** min(call.tries - 1, 16) * (0.75 + 0.5 * self._turn.rng.random())
        return min(wait, self._settings.call_backoff_max_s)

    def due(self, what: str, capsule: str) -> None:
        """A timer of this room fired."""
        call = self._calling.get(capsule)
        if call is None:
            return
        if what == "deadline":
            self._refuse(capsule, 503, f"{self._hindrance(capsule)}; try again", 1)
        elif call.tries == 1 and not call.heard and self._hedges < 1:
            self._turn.after(self._settings.call_backoff_max_s / 10, "calls", "hedge", capsule)
            call.tries += 1  # the budget is spent: a plain retry, later
        else:
            self._hedges -= call.tries == 1 and not call.heard
            self._turn.count("call_retries")
            self._try(capsule, call)

    def _hindrance(self, capsule: str) -> str:
        names = [self._members.name_of(holder) for holder, _ in sorted(self._believed.get(capsule, ()))]
        if not names:
            return "no node answered for it in time"
        return f"it runs at {', '.join(dict.fromkeys(names))}, which cannot be reached from here"

    def _give_up_on(self, peer: str) -> None:
        """Nothing can come of what was asked of this elector: the next one, at once."""
        for capsule, call in list(self._calling.items()):
            if call.asked == peer:
                self._try(capsule, call)

    def met(self, peer: str) -> None:
        """A link with a member is new: copies there can be sent to, and a call that could reach no elector may
        reach this one."""
        self._endpoints_moved(peer)
        for capsule, call in list(self._calling.items()):
            if not call.asked and peer in self._orbits.electors_of(capsule):
                self._try(capsule, call)

    # --- answers -----------------------------------------------------------------------------------------

    def _answered_by(self, peer: str, capsule: str, cause: str) -> _Calling | None:
        """The call that this is an answer to. The time it took counts, where no other try is mixed in."""
        call = self._calling.get(capsule)
        if call is None or call.cause != cause:
            return None
        if peer == call.asked and not call.heard and call.tries == 1 and peer != self._turn.me:
            self._members.trips.sample(peer, self._turn.now - call.asked_at)
            self._delays.sample("heard", self._turn.now - call.asked_at)
        return call

    def heard(self, peer: str, message: Heard) -> None:
        """An elector sees to it."""
        call = self._answered_by(peer, message.capsule, message.cause)
        if call and peer == call.asked and not call.heard:
            call.heard = True
            self._turn.after(self._settings.call_patience_s, "calls", "hedge", message.capsule)

    def holders(self, peer: str, message: Holders) -> None:
        """An elector names who holds the capsule."""
        call = self._answered_by(peer, message.capsule, message.cause)
        for claim in message.claims:
            self._believe(claim)
        self._tell_gateway(message.capsule)
        if message.capsule in self._calling and call and peer == call.asked:
            self._ask_another(message.capsule, call)

    def directory_changed(self, capsule: str, ready: tuple[Claim, ...]) -> None:
        """This node is an elector itself and heard of a holder: a call need not wait for the convener's word."""
        if ready and capsule in self._calling:
            for claim in ready:
                self._believe(claim)
            self._tell_gateway(capsule)

    def _ask_another(self, capsule: str, call: _Calling) -> None:
        """The answer is of no use: ask the next elector now; when all were asked, the timer begins again."""
        electors = [e for e in self._orbits.electors_of(capsule) if self._members.reachable(e)]
        if not call.tried.issuperset(electors):
            self._try(capsule, call)

    def _believe(self, claim: Claim) -> None:
        """A ready claim, from whoever told us of it, unless its holder said since that it has no copy."""
        denied = self._not_here.get((claim.capsule, claim.holder))
        if not claim.ready or claim.holder == self._turn.me or denied == (claim.boot, claim.sequence):
            return
        self._not_here.pop((claim.capsule, claim.holder), None)
        self._forget_older(claim.capsule, claim.generation)
        self._believed.setdefault(claim.capsule, {})[(claim.holder, claim.slot)] = claim
        if len(self._believed) > BELIEVED_MAX:
            oldest = next(iter(self._believed))
            del self._believed[oldest]
            self._tell_gateway(oldest)

    def _forget_older(self, capsule: str, generation: int) -> None:
        """A copy of this generation answers: those before it drain."""
        believed = self._believed.get(capsule, {})
        for key in [key for key, claim in believed.items() if claim.generation < generation]:
            del believed[key]
        if not believed:
            self._believed.pop(capsule, None)

    def unknown(self, peer: str, message: Unknown) -> None:
        """An elector has no record of the capsule. We have: it gets it, and is asked again."""
        call = self._answered_by(peer, message.capsule, message.cause)
        held = self._orbits.records.get(message.capsule)
        if call is None or held is None or peer != call.asked:
            return
        if peer in call.handed:
            self._ask_another(message.capsule, call)
            return
        call.handed.add(peer)
        self._turn.send(peer, self._orbits.handed((held,)))
        self._turn.send(peer, Call(message.capsule, call.cause, self._capacity()))

    def refused(self, peer: str, message: Refused) -> None:
        """Nobody will run it now."""
        if self._answered_by(peer, message.capsule, message.cause):
            self._refuse(message.capsule, 503, message.reason, message.retry_after_s)

    def _refuse(self, capsule: str, status: int, reason: str, retry_after_s: int) -> None:
        call = self._calling.get(capsule)
        self._turn.note(
            "request.refused", call.cause if call else "", capsule=capsule, status=status, reason=reason
        )
        self._turn.do(Refuse(capsule, status, reason, retry_after_s))
        self._end(capsule)

    def _end(self, capsule: str) -> None:
        call = self._calling.pop(capsule, None)
        if call:
            self._turn.timers.cancel(("calls", "hedge", capsule))
            self._turn.timers.cancel(("calls", "deadline", capsule))

    def answered(self, event: Answered) -> None:
        """The gateway's word that a request which had been parked got its answer: the story's end."""
        self._turn.note(
            "request.answered",
            self._last_cause.pop(event.key, ""),
            capsule=event.key,
            parked_ms=round(event.parked_s * 1000, 3),
            total_ms=round(event.total_s * 1000, 3),
        )

    # --- endpoints ---------------------------------------------------------------------------------------

    def endpoints(self, capsule: str) -> int:
        """How many endpoints the gateway has for a capsule."""
        return len(self._told.get(capsule, ()))

    def uses_older(self, capsule: str, generation: int) -> bool:
        """Whether requests may go from here to a copy of an older generation."""
        believed = self._believed.get(capsule, {}).values()
        copies = self._momentum.serving(capsule)
        return any(c.generation < generation for c in believed) or any(
            c.record.generation < generation for c in copies
        )

    def record_gone(self, capsule: str) -> None:
        """Its record is withdrawn or over: nothing is sent anywhere for it."""
        self._believed.pop(capsule, None)
        self._before_joined.pop(capsule, None)
        if capsule in self._calling:
            self._refuse(capsule, 404, f"{capsule} was withdrawn", 0)
        self._tell_gateway(capsule)

    def _endpoints(self, capsule: str) -> tuple[Endpoint, ...]:
        local = [Endpoint(copy.instance, "", 0) for copy in self._momentum.serving(capsule)]
        claims = sorted(self._believed.get(capsule, {}).items())
        remote = [
            Endpoint(0, claim.holder, COST_OF_A_HOP + round(self._members.trips.seconds(claim.holder) * 1000))
            for _, claim in claims
            if self._members.reachable(claim.holder) and self._members.boot_of(claim.holder) == claim.boot
        ]
        return tuple(local + remote)

    def _tell_gateway(self, capsule: str) -> None:
        """Of the endpoints there are now. Where there are some, a call has reached its end."""
        endpoints = self._endpoints(capsule)
        if endpoints != self._told.get(capsule, ()):
            record = self._orbits.get(capsule)
            concurrency = record.scale.concurrency if record and slots_max(record) > 1 else 0
            self._turn.do(SetEndpoints(capsule, endpoints, concurrency))
        if endpoints:
            self._told[capsule] = endpoints
            self._end(capsule)
        else:
            self._told.pop(capsule, None)

    def local_changed(self, capsule: str) -> None:
        """A copy here began or ceased to serve."""
        serving = [copy.record.generation for copy in self._momentum.serving(capsule)]
        self._forget_older(capsule, max(serving, default=0))
        self._tell_gateway(capsule)

    def not_here(self, capsule: str, peer: str) -> None:
        """A holder said that it has no copy: believe it, until it claims anew."""
        for claim in self._disbelieve(capsule, peer):
            self._not_here[(capsule, peer)] = (claim.boot, claim.sequence)
            if len(self._not_here) > BELIEVED_MAX:
                del self._not_here[next(iter(self._not_here))]
        self._tell_gateway(capsule)

    def _disbelieve(self, capsule: str, peer: str) -> list[Claim]:
        believed = self._believed.get(capsule, {})
        claims = [believed.pop(key) for key in list(believed) if key[0] == peer]
        if not believed:
            self._believed.pop(capsule, None)
        return claims

    def member_changed(self, peer: str) -> None:
        """A holder became suspect, lost its link, or came back."""
        self._endpoints_moved(peer)
        if not self._members.reachable(peer):
            self._give_up_on(peer)

    def _endpoints_moved(self, holder: str) -> None:
        for capsule in sorted(self._believed):
            if any(peer == holder for peer, _ in self._believed[capsule]):
                self._tell_gateway(capsule)

    def boot_ended(self, peer: str) -> None:
        """A holder's run is over: forget what was believed of it."""
        for capsule in sorted(self._believed):
            if self._disbelieve(capsule, peer):
                self._tell_gateway(capsule)
        for key in [key for key in self._not_here if key[1] == peer]:
            del self._not_here[key]
        self._give_up_on(peer)
