"""A caller: finds who answers for a capsule that requests wait for, and gives the gateway its endpoints.

Owns this node's calls under way, the answers it believes, and what the gateway was last told. It asks electors
and elects nobody. PROTOCOLS 6.1 and 6.2: one call a capsule; "heard" stops the hedge; a hedge to the next
elector after a patience learnt from earlier calls, out of a budget, then back-off with jitter. An answer is
believed until its holder is suspect, ends, or says "not here".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from falak.core.delays import Delays
from falak.core.effects import Endpoint, Refuse, SetEndpoints
from falak.core.events import Answered
from falak.core.membership import Membership
from falak.core.model import Capacity, Claim
from falak.core.momentum import Momentum
from falak.core.orbits import Orbits
from falak.core.settings import Settings
from falak.core.turn import Turn
from falak.core.wire import Call, Heard, Holders, Refused, Unknown

UNKNOWN_NEEDED = 2
"""Electors that must say "unknown" before a request is answered with 404 (all, where there are fewer)."""
COST_OF_A_HOP = 1
"""What another node's endpoint costs against a local copy, in requests in flight, plus its ms away."""


@dataclass(slots=True)
class _Calling:
    cause: str
    began_at: float
    tries: int = 0
    asked_at: float = 0.0
    asked: str = ""
    heard: bool = False
    unknown: set[str] = field(default_factory=set)


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
        self._told: dict[str, tuple[Endpoint, ...]] = {}
        self._before_joined: dict[str, None] = {}
        self._last_cause: dict[str, str] = {}
        self._hedges = settings.hedge_burst

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Calls under way and their limit."""
        return {"calls": (len(self._calling), self._settings.calls_max)}

    # --- requests wait -----------------------------------------------------------------------------------

    def wanted(self, capsule: str) -> None:
        """Requests are parked for a capsule and the gateway has nobody to give them to."""
        if not self._members.joined:
            self._before_joined[capsule] = None
            return
        self._told.pop(capsule, None)
        if self._tell_gateway(capsule) or capsule in self._calling:
            return
        if len(self._calling) >= self._settings.calls_max:
            self._turn.do(Refuse(capsule, 503, "this node waits for too many capsules at once; try again", 1))
            return
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
        electors = [e for e in self._orbits.electors_of(capsule) if self._members.usable(e)]
        if not electors:
            self._turn.after(self._settings.call_backoff_max_s, "calls", "hedge", capsule)
            return
        elector = electors[call.tries % len(electors)]
        call.tries += 1
        call.asked, call.asked_at, call.heard = elector, self._turn.now, False
        self._turn.after(self._patience_s(call, elector), "calls", "hedge", capsule)
        self._turn.send(elector, Call(capsule, call.cause, self._capacity()))

    def _patience_s(self, call: _Calling, elector: str) -> float:
        first = max(
            3.5 * (self._members.rtt_s(elector) or self._settings.rtt_s) + self._settings.hedge_floor_s,
            self._delays.patience("heard"),
        )
        wait = first * 2.0 ** min(call.tries - 1, 16) * (0.75 + 0.5 * self._turn.rng.random())
        return min(wait, self._settings.call_backoff_max_s)

    def due(self, what: str, capsule: str) -> None:
        """A timer of this room fired."""
        call = self._calling.get(capsule)
        if call is None:
            return
        if what == "deadline":
            self._refuse(capsule, 503, "no node answered for it in time; try again", 1)
        elif call.tries == 1 and not call.heard and self._hedges < 1:
            self._turn.after(self._settings.call_backoff_max_s / 10, "calls", "hedge", capsule)
            call.tries += 1  # the budget is spent: a plain retry, later
        else:
            self._hedges -= call.tries == 1 and not call.heard
            self._turn.count("call_retries")
            self._try(capsule, call)

    # --- answers -----------------------------------------------------------------------------------------

    def heard(self, peer: str, message: Heard) -> None:
        """An elector sees to it."""
        call = self._calling.get(message.capsule)
        if call and message.cause == call.cause and peer == call.asked and not call.heard:
            call.heard = True
            self._sample(peer, call)
            self._turn.after(self._settings.call_patience_s, "calls", "hedge", message.capsule)

    def _sample(self, peer: str, call: _Calling) -> None:
        if peer != self._turn.me:
            self._members.sample_rtt(peer, self._turn.now - call.asked_at)
            self._delays.sample("heard", self._turn.now - call.asked_at)

    def holders(self, peer: str, message: Holders) -> None:
        """An elector names who holds the capsule."""
        call = self._calling.get(message.capsule)
        if call and peer == call.asked and not call.heard:
            self._sample(peer, call)
        for claim in message.claims:
            self.believe(claim)
        if self._tell_gateway(message.capsule):
            self._end(message.capsule)

    def believe(self, claim: Claim) -> None:
        """A ready claim, from whoever told us of it."""
        if claim.ready and claim.holder != self._turn.me:
            self._believed.setdefault(claim.capsule, {})[(claim.holder, claim.slot)] = claim

    def unknown(self, peer: str, message: Unknown) -> None:
        """An elector knows no such capsule; believed when enough of them say so."""
        call = self._calling.get(message.capsule)
        if call is None or message.cause != call.cause:
            return
        call.unknown.add(peer)
        electors = [e for e in self._orbits.electors_of(message.capsule) if self._members.usable(e)]
        if len(call.unknown) >= min(UNKNOWN_NEEDED, len(electors)):
            self._refuse(message.capsule, 404, f"no capsule {message.capsule} orbits in this mesh", 0)
        elif peer == call.asked:
            self._try(message.capsule, call)

    def refused(self, peer: str, message: Refused) -> None:
        """Nobody will run it now."""
        call = self._calling.get(message.capsule)
        if call and message.cause == call.cause:
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

    def _endpoints(self, capsule: str) -> tuple[Endpoint, ...]:
        local = [Endpoint(copy.instance, "", 0) for copy in self._momentum.serving(capsule)]
        claims = sorted(self._believed.get(capsule, {}).items())
        remote = [
            Endpoint(0, claim.holder, COST_OF_A_HOP + round(self._members.rtt_s(claim.holder) * 1000))
            for _, claim in claims
            if self._members.usable(claim.holder) and self._members.boot_of(claim.holder) == claim.boot
        ]
        return tuple(local + remote)

    def _tell_gateway(self, capsule: str) -> bool:
        endpoints = self._endpoints(capsule)
        if endpoints != self._told.get(capsule, ()):
            self._turn.do(SetEndpoints(capsule, endpoints))
        if endpoints:
            self._told[capsule] = endpoints
        else:
            self._told.pop(capsule, None)
        return bool(endpoints)

    def local_changed(self, capsule: str) -> None:
        """A copy here began or ceased to serve."""
        if self._tell_gateway(capsule):
            self._end(capsule)

    def not_here(self, capsule: str, peer: str) -> None:
        """A holder said that it has no copy: believe it."""
        believed = self._believed.get(capsule, {})
        for key in [key for key in believed if key[0] == peer]:
            del believed[key]
        self._tell_gateway(capsule)

    def member_changed(self, peer: str) -> None:
        """A holder became suspect, came back, or its run ended."""
        for capsule in sorted(self._believed):
            if any(holder == peer for holder, _ in self._believed[capsule]):
                self._tell_gateway(capsule)
        for capsule, call in list(self._calling.items()):
            if call.asked == peer and not self._members.usable(peer):
                self._try(capsule, call)

    def boot_ended(self, peer: str) -> None:
        """A holder's run is over: forget what was believed of it."""
        for capsule in sorted(self._believed):
            self.not_here(capsule, peer)
            if not self._believed[capsule]:
                del self._believed[capsule]
        self.member_changed(peer)
