"""What happens in a world, as lines for people: the trace of a failing run and the text of the transcripts.

Owns the wording, and which events are left out as noise. It watches and changes nothing. A line is

    12.3 ms  n1 -> n2    Propose hello/0 epoch 1 gravity 912345     a message, at the time it was sent
    12.3 ms  n1 ~> topic Announce hello@1                           gossip
    12.3 ms  n1 <= Wanted hello                                     what its driver told a node
    12.3 ms  n1 => Start hello as #1                                what a node had its driver do
    12.3 ms  n1 ** election.won capsule=hello slot=0 ...            what people may see (``falak events``)

Messages of a node to itself are shown like others; ``-x`` is one that got lost. Deliveries are not shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.model import Claim, Profile, SignedRecord, Vote, decode_record, slot_key
from falak.sim.world import Lost, Own, Seen, World

NOISE: Final = frozenset(
    {
        wire.Heartbeat,
        wire.Ping,
        wire.Pong,
        wire.MembersDigest,
        wire.Compare,
        ev.Sampled,
        ev.Tick,
        ev.Persisted,
        ef.Beat,
        ef.Subscribe,
        ef.Persist,
    }
)
"""Left out unless asked for: what goes on all the time and tells nothing of a scenario."""


class Trace:
    """Collects ``lines`` of a world from its making on. ``start`` makes the next line's time count from now."""

    def __init__(self, world: World, hidden: frozenset[type] = NOISE) -> None:
        self._world, self._hidden = world, hidden
        self.lines: list[str] = []
        self.start()
        world.tracer = self._see

    def start(self) -> None:
        """Times are relative to now from here on."""
        self._zero = self._world.now

    def take(self) -> list[str]:
        """The lines since the last time, which are forgotten."""
        lines, self.lines = self.lines, []
        return lines

    def _see(self, host: str, what: Seen) -> None:
        inner = what.message if isinstance(what, Own | Lost | ef.Send | ef.Gossip) else what
        if type(inner) in self._hidden or isinstance(what, ev.Received):
            return
        words = _Words(self._world)
        if isinstance(what, Lost) and self.lines:
            sent = words.line(host, ef.Send(what.peer, what.message))
            if self.lines[-1].endswith(sent):
                self.lines.pop()
        self.lines.append(f"{(self._world.now - self._zero) * 1000:9.2f} ms  {words.line(host, what)}")


class _Words:
    """Words for things of one world, in which ids have names."""

    def __init__(self, world: World) -> None:
        self._world = world

    def name(self, peer: str) -> str:
        host = self._world.by_id.get(peer)
        return host.name if host else peer or "nobody"

    def names(self, peers: Any) -> str:
        return " ".join(self.name(peer) for peer in peers) or "nobody"

    def record_of(self, digest: bytes) -> str:
        """The record with this digest, as whoever has it knows it."""
        nodes = [host.node for host in self._world.hosts.values()]
        named = next(filter(None, (node.orbits.name_of(digest) for node in nodes)), "")
        return named or f"record {digest.hex()[:8]}"

    def line(self, host: str, what: Seen) -> str:
        match what:
            case Own(message):
                return self._sent(host, "->", host, message)
            case Lost(peer, message):
                return self._sent(host, "-x", self.name(peer), message)
            case ef.Send(peer, message):
                return self._sent(host, "->", self.name(peer), message)
            case ef.Gossip(topic, message):
                return self._sent(host, "~>", topic.removeprefix("/falak/1/"), message)
            case ef.Note(event, _, fields):
                return f"{host} ** {event}" + "".join(f" {k}={_plain(v)}" for k, v in fields)
            case _:
                sign = "=>" if type(what).__module__ == ef.__name__ else "<="
                return f"{host} {sign} {self.driver(what)}"

    def _sent(self, host: str, arrow: str, to: str, message: wire.Message) -> str:
        return f"{host} {arrow} {to:<8} {self.message(message)}"

    # --- events and effects --------------------------------------------------------------------------------

    def driver(self, what: Any) -> str:
        """An event or effect other than messages and notes."""
        kind = type(what)
        words = _DRIVER.get(kind)
        return f"{kind.__name__} {words(self, what)}".rstrip() if words else kind.__name__

    def endpoint(self, endpoint: ef.Endpoint) -> str:
        if endpoint.instance:
            return f"here #{endpoint.instance}"
        return f"{self.name(endpoint.peer)} cost {endpoint.cost}"

    # --- messages ------------------------------------------------------------------------------------------

    def message(self, message: wire.Message) -> str:
        """A message by its short name and what matters of it."""
        kind = type(message)
        words = _MESSAGES.get(kind)
        return f"{kind.__name__} {words(self, message)}".rstrip() if words else kind.__name__

    def profile(self, profile: Profile) -> str:
        return f"{profile.node.name} incarnation {profile.incarnation}"

    def vote(self, vote: Vote) -> str:
        return f"epoch {vote.epoch} for {self.name(vote.leader)}" if vote.epoch else "no vote yet"

    def answer(self, message: wire.Voted | wire.Saw) -> str:
        claim = f", claim: {self.claim(message.claim)}" if message.claim else ""
        convening = ", convening" if isinstance(message, wire.Saw) and message.convening else ""
        return f"{slot_key(message.capsule, message.slot)}: {self.vote(message.vote)}{claim}{convening}"

    def claim(self, claim: Claim) -> str:
        state = "ready" if claim.ready else "starting"
        return (
            f"{slot_key(claim.capsule, claim.slot)}@{claim.generation} by {self.name(claim.holder)} {state} "
            f"epoch {claim.epoch} gravity {claim.gravity} sequence {claim.sequence}"
        )

    def claims(self, claims: tuple[Claim, ...]) -> str:
        return "; ".join(self.claim(claim) for claim in claims) or "none"


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(str(item) for item in value) or "-"
    if isinstance(value, dict):
        return ",".join(f"{key}:{item}" for key, item in value.items())
    text = str(value)
    return f'"{text}"' if " " in text else text


def _record(signed: SignedRecord) -> str:
    record = decode_record(signed.data)
    return f"{record.name}@{record.generation}{' withdrawn' if record.withdrawn else ''}"


def _reason(why: str) -> str:
    return f": {why}" if why else ""


_DRIVER: Final[dict[type, Callable[[_Words, Any], str]]] = {
    ev.Begin: lambda w, e: f"incarnation {e.incarnation}, contacts {' '.join(e.contacts) or 'none'}",
    ev.LinkUp: lambda w, e: f"{w.name(e.peer)}{' (dialled)' if e.dialer else ''}",
    ev.LinkDown: lambda w, e: f"{w.name(e.peer)}{_reason(e.cause)}",
    ev.DialFailed: lambda w, e: f"{w.name(e.peer)}{_reason(e.why)}",
    ev.PeerSilent: lambda w, e: w.name(e.peer),
    ev.PeerBack: lambda w, e: w.name(e.peer),
    ev.Stalled: lambda w, e: f"for {e.seconds:.1f} s",
    ev.Undelivered: lambda w, e: w.name(e.peer),
    ev.Wanted: lambda w, e: e.key,
    ev.Forgone: lambda w, e: e.key,
    ev.NotHere: lambda w, e: f"{e.capsule} at {w.name(e.peer)}",
    ev.Unreachable: lambda w, e: f"{w.name(e.peer)} for {e.capsule}",
    ev.Answered: lambda w, e: f"{e.key} after {e.parked_s * 1000:.1f} ms parked",
    ev.Publish: lambda w, e: e.record.name,
    ev.Withdraw: lambda w, e: e.name,
    ev.Rollback: lambda w, e: e.name,
    ev.Signed: lambda w, e: _record(e.record),
    ev.Fetched: lambda w, e: f"{_digest(e.digest)} from {w.name(e.peer)}{_reason(e.why)}",
    ev.Prepared: lambda w, e: f"{_digest(e.digest)}{_reason(e.why)}",
    ev.Started: lambda w, e: f"#{e.instance} in {e.load_s * 1000:.1f} ms",
    ev.StartFailed: lambda w, e: f"#{e.instance}{_reason(e.why)}",
    ev.Ended: lambda w, e: f"#{e.instance}{_reason(e.why)}",
    ef.Dial: lambda w, e: f"{w.name(e.peer) if e.peer else 'somebody'} at {e.address}",
    ef.Hangup: lambda w, e: w.name(e.peer),
    ef.Beat: lambda w, e: f"{w.name(e.peer)} {'on' if e.on else 'off'}",
    ef.Subscribe: lambda w, e: e.topic,
    ef.Persist: lambda w, e: f"{e.key} ({len(e.value)} bytes)",
    ef.Sign: lambda w, e: f"{e.record.name}@{e.record.generation}",
    ef.Fetch: lambda w, e: f"{_digest(e.artifact.digest)} from {w.name(e.peer)}",
    ef.Prepare: lambda w, e: _digest(e.artifact.digest),
    ev.Crowded: lambda w, e: e.capsule,
    ev.Drained: lambda w, e: f"#{e.instance}",
    ev.Drain: lambda w, e: "on" if e.on else "off",
    ef.DrainCopy: lambda w, e: f"#{e.instance}",
    ef.Start: lambda w, e: f"{e.record.name}@{e.record.generation} as #{e.instance}",
    ef.Stop: lambda w, e: f"#{e.instance}{_reason(e.why)}",
    ef.SetEndpoints: lambda w, e: f"{e.capsule}: " + (", ".join(map(w.endpoint, e.endpoints)) or "none"),
    ef.SetRoutes: lambda w, e: ", ".join(f"{host}{prefix} to {name}" for host, prefix, name in e.routes),
    ef.Retry: lambda w, e: e.key,
    ef.Refuse: lambda w, e: f"{e.key} with {e.status}{_reason(e.reason)}",
    ef.Published: lambda w, e: (
        f"{e.name}@{e.generation} kept by {' '.join(e.keepers) or 'itself'}"
        if not e.why
        else f"{e.name}: {e.why}"
    ),
    ef.Joined: lambda w, e: e.why,
}


def _digest(digest: str) -> str:
    """What the world's capsules call their artifacts, read back from the made-up digest."""
    return bytes.fromhex(digest).rstrip(b"\0").decode(errors="replace") if len(digest) == 64 else digest


_MESSAGES: Final[dict[type, Callable[[_Words, Any], str]]] = {
    wire.Hello: lambda w, m: w.profile(m.profile) + (", joining" if m.joining else ""),
    wire.HelloRefused: lambda w, m: m.reason,
    wire.Welcome: lambda w, m: f"members {' '.join(p.node.name for p in m.members) or 'none'}",
    wire.Introduced: lambda w, m: w.profile(m.profile),
    wire.Heartbeat: lambda w, m: f"{w.profile(m.profile)} sequence {m.sequence}",
    wire.Probe: lambda w, m: w.name(m.subject),
    wire.Probed: lambda w, m: f"{w.name(m.subject)} {'heard' if m.heard else 'not heard'}",
    wire.Accused: lambda w, m: f"{w.name(m.subject)} incarnation {m.incarnation}: {m.kind}",
    wire.MembersSeen: lambda w, m: w.names(peer for peer, _ in m.members),
    wire.Announce: lambda w, m: _record(m.record),
    wire.Records: lambda w, m: " ".join(map(_record, m.records)),
    wire.Renewals: lambda w, m: (
        " ".join(f"{w.record_of(digest)} counter {counter}" for digest, counter in m.entries)
        + (" (yours is behind)" if m.behind else "")
    ),
    wire.Differs: lambda w, m: (
        " ".join(f"{name}@{generation}" for name, generation, _ in m.entries) or "nothing"
    ),
    wire.RecordsAsked: lambda w, m: " ".join([*m.names, *map(w.record_of, m.digests)]),
    wire.Lookup: lambda w, m: m.key,
    wire.Found: lambda w, m: f"{m.key}: " + (f"{m.capsule}@{m.generation}" if m.capsule else "nothing"),
    wire.Keep: lambda w, m: _record(m.record),
    wire.Kept: lambda w, m: f"{m.name}{_reason(m.why)}",
    wire.HostEntry: lambda w, m: f"{m.host} for {_record(m.record)}",
    wire.Call: lambda w, m: (
        m.capsule
        + (f" for generation {m.generation}" if m.generation else "")
        + (f" for more than {m.copies}" if m.copies else "")
    ),
    wire.Heard: lambda w, m: m.capsule,
    wire.Holders: lambda w, m: f"{m.capsule}: {w.claims(m.claims)}",
    wire.Unknown: lambda w, m: m.capsule,
    wire.Refused: lambda w, m: f"{m.capsule}{_reason(m.reason)}",
    wire.Look: lambda w, m: slot_key(m.capsule, m.slot),
    wire.Saw: lambda w, m: w.answer(m),
    wire.Summon: lambda w, m: (
        f"{slot_key(m.capsule, m.slot)} epoch {m.epoch} rank {m.rank}"
        + (f" stagger {m.stagger_us / 1000:.1f} ms" if m.rank else "")
        + f" electors {w.names(m.electors)}"
        + (" with proof" if m.proof else "")
    ),
    wire.Decline: lambda w, m: f"{slot_key(m.capsule, m.slot)} epoch {m.epoch}{_reason(m.reason)}",
    wire.Withdrawn: lambda w, m: f"{slot_key(m.capsule, m.slot)} epoch {m.epoch}",
    wire.Proceed: lambda w, m: f"{slot_key(m.capsule, m.slot)} epoch {m.epoch}",
    wire.Propose: lambda w, m: (
        f"{slot_key(m.capsule, m.slot)} epoch {m.epoch} gravity {m.gravity}"
        + (" with proof" if m.proof else "")
    ),
    wire.Voted: lambda w, m: w.answer(m),
    wire.Won: lambda w, m: f"{slot_key(m.capsule, m.slot)} epoch {m.epoch} {w.name(m.winner)}",
    wire.Claimed: lambda w, m: w.claim(m.claim),
    wire.Released: lambda w, m: f"{w.claim(m.claim)}{_reason(m.reason)}",
    wire.Outclaimed: lambda w, m: w.claim(m.claim),
    wire.ClaimHeard: lambda w, m: f"{slot_key(m.capsule, m.slot)} sequence {m.sequence}",
    wire.ClaimsAsked: lambda w, m: "besides " + (" ".join(slot_key(*key) for key in m.known) or "none"),
    wire.ClaimsGiven: lambda w, m: (
        w.claims(m.claims) + (f"; ended {' '.join(slot_key(*key) for key in m.ended)}" if m.ended else "")
    ),
}
