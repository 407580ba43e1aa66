"""Messages between nodes and their bytes. Owns the vocabulary and the encoding; it neither sends nor decides.

A message on the wire is the msgpack array ``[PROTOCOL_VERSION, kind, body]``, ``body`` being the array of the
message's fields. Kinds are never reused and fields only added at the end, so an older node reads a newer one's
message. What cannot be read raises ``Unreadable`` with the reason that is counted, and nothing else.
Durations on the wire are relative. Gossip is at most ``GOSSIP_MAX_BYTES``, the rest ``MESSAGE_MAX_BYTES``.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from falak.core.model import (
    UNREADABLE,
    Capacity,
    Claim,
    Count,
    Epoch,
    Gravity,
    Profile,
    SignedRecord,
    Text,
    Value,
    Vote,
    Word,
)
from falak.core.settings import MESSAGE_MAX_BYTES, PROTOCOL_VERSION


class Unreadable(Exception):
    """Bytes that are no message of this protocol; ``reason`` is one of a few fixed words, for counting.
    ``version``: of which version they are instead, where that is the reason."""

    def __init__(self, reason: str, version: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.version = reason, version


Proof = tuple[tuple[Word, Vote], ...]
"""Electors' answers as a convener heard them: that nobody can reach the quorum in this epoch."""

# --- membership -----------------------------------------------------------------------------------------


class Hello(Value, frozen=True):
    """First word on a new link. ``joining``: please answer with a Welcome. ``heard_incarnation``: the highest
    incarnation of yours known here, and ``heard_boot`` its boot, so that a later run can rise above it.
    ``flapping``: you were dropped so often that you are no candidate here for a while."""

    profile: Profile
    joining: bool = False
    heard_incarnation: Count = 0
    heard_boot: Count = 0
    flapping: bool = False


class HelloRefused(Value, frozen=True):
    """The sender will not have this node as a member; ``reason`` is for people."""

    reason: Text


class Welcome(Value, frozen=True):
    """The first sync's end, after the records: all members the sender knows."""

    members: tuple[Profile, ...]


class Introduced(Value, frozen=True):
    """A newcomer's profile, handed on by the member that it greeted first."""

    profile: Profile


class Heartbeat(Value, frozen=True):
    """Gossiped on the cluster's heartbeat topic."""

    profile: Profile
    sequence: Count


class Ping(Value, frozen=True):
    """Asks for a Pong; ``stamp_us`` is on the sender's own clock and means nothing to others."""

    stamp_us: Count


class Pong(Value, frozen=True):
    """The stamp of the Ping."""

    stamp_us: Count


class Goodbye(Value, frozen=True):
    """``node.leave``: this boot ends on purpose."""

    boot: Count
    incarnation: Count


class Probe(Value, frozen=True):
    """Asks another member whether it hears ``subject``."""

    subject: Word


class Probed(Value, frozen=True):
    """The answer to Probe: the sender heard it just now, or did not."""

    subject: Word
    heard: bool


class Accused(Value, frozen=True):
    """Gossiped on the heartbeat topic by a watcher: ``subject``, in this incarnation, closed its link and refuses
    to be dialled, or is silent. Only the subject can refute it, with a higher incarnation."""

    subject: Word
    boot: Count
    incarnation: Count
    kind: Literal["closed", "silent"]


class MembersDigest(Value, frozen=True):
    """16 bytes over the members (id and boot) that the sender takes for present."""

    digest: bytes


class MembersSeen(Value, frozen=True):
    """Those members, to one whose digest differs. ``answer``: it is to say its own. Hearsay: nobody becomes a
    member by it, but they are dialled."""

    members: tuple[tuple[Word, Count], ...]
    answer: bool = False


# --- orbits and publishing ------------------------------------------------------------------------------


class Announce(Value, frozen=True):
    """A record, gossiped on its orbit's topic."""

    record: SignedRecord


class Visible(Value, frozen=True):
    """A record's renewal counter at the sender (0: none heard of), and what is left of its time."""

    counter: Count = 0
    left_ms: Count = 0


class Records(Value, frozen=True):
    """Records handed over, in batches under the size limit. ``visible`` says of each, in order, how long it is
    to be seen; what is not said of counts as just renewed."""

    records: tuple[SignedRecord, ...]
    visible: tuple[Visible, ...] = ()


class Renewals(Value, frozen=True):
    """Gossiped by a keeper: these records (by digest) are renewed, with these counters. ``behind``: an answer to
    one whose counters were lower, these are higher."""

    entries: tuple[tuple[bytes, Count], ...]
    behind: bool = False


class Compare(Value, frozen=True):
    """A sum a bucket over the records and tombstones of these orbits, as the sender has them."""

    orbits: tuple[Word, ...]
    sums: tuple[bytes, ...]


class Differs(Value, frozen=True):
    """The answer where sums differ: what the sender has in these buckets (name, generation, digest)."""

    orbits: tuple[Word, ...]
    buckets: tuple[Count, ...]
    entries: tuple[tuple[Word, Count, bytes], ...]


class RecordsAsked(Value, frozen=True):
    """Asks for records, by name or by digest; Records follow of those that are there."""

    names: tuple[Word, ...] = ()
    digests: tuple[bytes, ...] = ()


class Lookup(Value, frozen=True):
    """Asks an elector of ``key`` (a capsule's name, or ``host/HOST``) what stands there; a host that nobody has
    is reserved for the capsule that ``wants`` it."""

    key: Word
    token: Count
    wants: Word = ""


class Found(Value, frozen=True):
    """The answer: the capsule entered under the key ("" for none), its highest generation, its record."""

    key: Word
    token: Count
    capsule: Word = ""
    generation: Count = 0
    record: SignedRecord | None = None


class Keep(Value, frozen=True):
    """Asks a keeper to store the record and to fetch its artifacts from the sender."""

    record: SignedRecord


class Kept(Value, frozen=True):
    """The keeper's answer: stored whole (``why`` is empty), or why not."""

    name: Word
    digest: bytes
    why: Text = ""


class HostEntry(Value, frozen=True):
    """Enters a host with an elector of ``host/HOST`` for the capsule whose record names it, or gives it up."""

    host: Word
    record: SignedRecord


# --- directory and elections ----------------------------------------------------------------------------


class Call(Value, frozen=True):
    """Asks an elector who answers for a capsule, and to convene if nobody does. ``generation``: only a copy of
    that one or a newer is of use (0: whatever serves); ``copies``: the caller knows so many, wants one more."""

    capsule: Word
    cause: Word
    capacity: Capacity
    generation: Count = 0
    copies: Count = 0


class Heard(Value, frozen=True):
    """The call is being seen to; a Holders or Refused follows."""

    capsule: Word
    cause: Word


class Holders(Value, frozen=True):
    """Ready claims of the capsule."""

    capsule: Word
    cause: Word
    claims: tuple[Claim, ...]


class Unknown(Value, frozen=True):
    """No record of the capsule stands here."""

    capsule: Word
    cause: Word


class Refused(Value, frozen=True):
    """Nobody will run it now; ``reason`` is for people. Try again after ``retry_after_s``."""

    capsule: Word
    cause: Word
    reason: Text
    retry_after_s: Count


class Look(Value, frozen=True):
    """A convener that may not know a claim asks another elector for the slot's vote and claim."""

    capsule: Word
    slot: Count


class Saw(Value, frozen=True):
    """The answer to Look. ``convening``: an election of the slot is open or waits at the sender."""

    capsule: Word
    slot: Count
    vote: Vote
    claim: Claim | None = None
    convening: bool = False


class Summon(Value, frozen=True):
    """Calls a candidate of ``rank`` to an election. It waits ``rank * stagger_us`` before it proposes.
    ``proof`` is there after a split, for the one candidate that is called again."""

    capsule: Word
    generation: Count
    slot: Count
    epoch: Epoch
    rank: Count
    stagger_us: Count
    electors: tuple[Word, ...]
    caller: Word
    zone_taken: bool
    cause: Word
    proof: Proof = ()


class Decline(Value, frozen=True):
    """The candidate refuses, or (``proposed``) gives up; ``reason`` is for people."""

    capsule: Word
    slot: Count
    epoch: Epoch
    reason: Text
    capacity: Capacity
    proposed: bool = False


class Withdrawn(Value, frozen=True):
    """A candidate that proposed itself gives up: its electors' votes for it are free again."""

    capsule: Word
    slot: Count
    epoch: Epoch


class Proceed(Value, frozen=True):
    """The candidates before this one are out: propose now."""

    capsule: Word
    slot: Count
    epoch: Epoch


class Propose(Value, frozen=True):
    """A candidate's proposal to each elector named in the call."""

    capsule: Word
    generation: Count
    slot: Count
    epoch: Epoch
    gravity: Gravity
    convener: Word
    electors: tuple[Word, ...]
    cause: Word
    capacity: Capacity
    proof: Proof = ()


class Voted(Value, frozen=True):
    """An elector's answer to the proposal of ``proposed_epoch``, to the candidate and to the convener."""

    capsule: Word
    slot: Count
    proposed_epoch: Epoch
    vote: Vote
    claim: Claim | None = None


class Won(Value, frozen=True):
    """The convener's announcement to the other candidates."""

    capsule: Word
    slot: Count
    epoch: Epoch
    winner: Word


class Claimed(Value, frozen=True):
    """The holder tells an elector of its claim."""

    claim: Claim
    capacity: Capacity


class Released(Value, frozen=True):
    """The holder ends its claim."""

    claim: Claim
    reason: Text
    capsule_fault: bool = False


class Outclaimed(Value, frozen=True):
    """An elector tells the holder of a lesser claim of the greater one: it drains."""

    claim: Claim


class ClaimHeard(Value, frozen=True):
    """Acknowledges a Claimed or Released by its sequence."""

    capsule: Word
    slot: Count
    sequence: Count


class ClaimsAsked(Value, frozen=True):
    """Asks a holder for its claims that the sender should know of. ``known`` are those that it knows."""

    known: tuple[tuple[Word, Count], ...] = ()


class ClaimsGiven(Value, frozen=True):
    """A holder's word of its claims: those it has, and those (capsule, slot) it does not have, as of
    ``sequence``."""

    claims: tuple[Claim, ...]
    ended: tuple[tuple[Word, Count], ...] = ()
    sequence: Count = 0


Message = (
    Hello | HelloRefused | Welcome | Introduced | Heartbeat | Goodbye | Ping | Pong
    | Announce | Records | Lookup | Found | Keep | Kept | HostEntry
    | Call | Heard | Holders | Unknown | Refused | Look | Saw | Summon | Decline | Withdrawn | Proceed | Propose
    | Voted | Won | Claimed | Released | Outclaimed | ClaimHeard | ClaimsAsked | ClaimsGiven
    | Probe | Probed | Accused | MembersDigest | MembersSeen
    | Renewals | Compare | Differs | RecordsAsked
)  # fmt: skip

KINDS: Final[dict[int, type[Message]]] = {
    1: Hello, 2: HelloRefused, 3: Welcome, 4: Introduced, 5: Heartbeat, 6: Goodbye, 7: Ping, 8: Pong,
    10: Announce, 11: Records, 12: Lookup, 13: Found, 14: Keep, 15: Kept, 16: HostEntry,
    20: Call, 21: Heard, 22: Holders, 23: Unknown, 24: Refused,
    30: Look, 31: Saw, 32: Summon, 33: Decline, 34: Proceed, 35: Propose, 36: Voted, 37: Won,
    38: Withdrawn,
    40: Claimed, 41: Released, 42: ClaimHeard, 43: ClaimsAsked, 44: ClaimsGiven, 45: Outclaimed,
    60: Renewals, 61: Compare, 62: Differs, 63: RecordsAsked,
    50: Probe, 51: Probed, 52: Accused, 53: MembersDigest, 54: MembersSeen,
}  # fmt: skip
_KIND_OF: Final = {cls: kind for kind, cls in KINDS.items()}
_BODY: Final = {kind: msgspec.msgpack.Decoder(cls) for kind, cls in KINDS.items()}
_ENVELOPE: Final = msgspec.msgpack.Decoder(tuple[int, int, msgspec.Raw])
_ENCODER: Final = msgspec.msgpack.Encoder()


def encode(message: Message) -> bytes:
    """The bytes of a message."""
    return _ENCODER.encode((PROTOCOL_VERSION, _KIND_OF[type(message)], message))


def decode(data: bytes, limit_bytes: int = MESSAGE_MAX_BYTES) -> Message:
    """The message in ``data``. Raises ``Unreadable`` (oversize, malformed, version, kind, body)."""
    if len(data) > limit_bytes:
        raise Unreadable("oversize")
    try:
        version, kind, body = _ENVELOPE.decode(data)
    except UNREADABLE:
        raise Unreadable("malformed") from None
    if version != PROTOCOL_VERSION:
        raise Unreadable("version", version)
    decoder = _BODY.get(kind)
    if decoder is None:
        raise Unreadable("kind")
    try:
        return decoder.decode(body)
    except UNREADABLE:
        raise Unreadable("body") from None


def records_in(message: Message) -> tuple[SignedRecord, ...]:
    """The signed records a message carries: whoever hands it to the core has verified them first."""
    match message:
        case Announce(record) | Keep(record) | HostEntry(record=record):
            return (record,)
        case Records(records):
            return records
        case Found(record=record) if record is not None:
            return (record,)
        case _:
            return ()
