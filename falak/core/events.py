"""What can happen to a node, as the core is told of it. Facts only: already verified, in any order.

The other half of the vocabulary is ``effects``. Adapters (the daemon's, the simulator's) make these; the core
never looks for them. ``peer`` is always the id that the transport proved.
"""

from __future__ import annotations

import msgspec

from falak.core.model import Capacity, Record, SignedRecord
from falak.core.wire import Message


class Fact(msgspec.Struct, frozen=True, gc=False):
    """What all events are: immutable, made and compared in C (a step makes several)."""


class Begin(Fact, frozen=True):
    """The first event. ``contacts`` are addresses to join through (none: this node starts a mesh);
    ``must_join``: without an answer it does not serve (they came from tickets, not from the address book).
    ``kept`` are the records and ``artifacts`` the digests found on disk. ``incarnation`` is one more than the
    last one persisted (1: a new key). ``previous``: records before the newest, kept for a rollback. ``away_s``:
    how long ago, by wall time, this node last had company (0: never, or a moment ago)."""

    incarnation: int
    addresses: tuple[str, ...]
    contacts: tuple[str, ...] = ()
    must_join: bool = False
    kept: tuple[SignedRecord, ...] = ()
    artifacts: tuple[str, ...] = ()
    previous: tuple[SignedRecord, ...] = ()
    away_s: float = 0.0


class Tick(Fact, frozen=True):
    """Nothing but time has passed: what is due by now is done."""


class LinkUp(Fact, frozen=True):
    """A link with a peer was made, by us (``dialer``) or by it."""

    peer: str
    address: str
    dialer: bool


class LinkDown(Fact, frozen=True):
    """The last connection with a peer closed."""

    peer: str
    cause: str


class DialFailed(Fact, frozen=True):
    """A dial of ``Dial.address`` failed; ``refused``: nobody listens there. ``peer`` as it was in the Dial.
    ``answered_by``: the id that the transport proved there instead of the one that was expected ("" for none)."""

    peer: str
    address: str
    refused: bool
    why: str
    answered_by: str = ""


class PeerSilent(Fact, frozen=True):
    """A watched peer sent no beat for a while though its link is open."""

    peer: str
    silence_s: float


class PeerBack(Fact, frozen=True):
    """It sends beats again."""

    peer: str


class Stalled(Fact, frozen=True):
    """This node's own loop stood still: what it did not hear meanwhile says nothing about others. Told before
    anything else that came in that time."""

    seconds: float


class Received(Fact, frozen=True):
    """A message on the link with ``peer``, or gossip that ``peer`` signed."""

    peer: str
    message: Message


class OtherVersion(Fact, frozen=True):
    """The peer said something on its link in another version of the protocol: it cannot be read here."""

    peer: str
    version: int


class Undelivered(Fact, frozen=True):
    """Messages to the peer were lost because its link broke or its queue was full."""

    peer: str


class Wanted(Fact, frozen=True):
    """Requests are parked at this node's gateway under ``key``: a capsule's name, or ``host/HOST``."""

    key: str


class Forgone(Fact, frozen=True):
    """Nobody waits for the key any more."""

    key: str


class NotHere(Fact, frozen=True):
    """The peer answered a forwarded request with "I have no copy"."""

    capsule: str
    peer: str


class Unreachable(Fact, frozen=True):
    """A request could not be handed to the peer: evidence of our own."""

    capsule: str
    peer: str


class Answered(Fact, frozen=True):
    """The first request that had been parked for ``key`` got its response's head."""

    key: str
    parked_s: float
    total_s: float


class Publish(Fact, frozen=True):
    """A person publishes a record here; its generation is filled in by the core. ``request`` returns in
    ``Published``."""

    request: int
    record: Record


class Withdraw(Fact, frozen=True):
    """A person withdraws a capsule here: ``Published`` tells when its tombstone is kept."""

    request: int
    name: str


class Rollback(Fact, frozen=True):
    """A person wants the generation before the newest back, as a newer one. Ends in ``Published``."""

    request: int
    name: str


class Signed(Fact, frozen=True):
    """``Sign`` was done."""

    request: int
    record: SignedRecord


class Persisted(Fact, frozen=True):
    """``Persist`` was done (``why`` empty) or failed."""

    key: str
    why: str = ""


class Fetched(Fact, frozen=True):
    """``Fetch`` ended: the artifact is here (``why`` empty), or not."""

    digest: str
    peer: str
    why: str = ""


class Prepared(Fact, frozen=True):
    """``Prepare`` ended: a copy can start at once. ``capsule_fault``: the artifact itself is bad; ``damaged``:
    what was here of it was not what its digest names, and is removed."""

    digest: str
    why: str = ""
    capsule_fault: bool = False
    damaged: bool = False


class Started(Fact, frozen=True):
    """``Start`` ended well. ``load_s`` is what it took in the runtime."""

    instance: int
    load_s: float


class StartFailed(Fact, frozen=True):
    """``Start`` ended badly. ``capsule_fault``: it would anywhere; ``unprepared``: what was prepared for it is
    gone or of no use, and would have to be prepared again."""

    instance: int
    why: str
    capsule_fault: bool
    unprepared: bool = False


class Ended(Fact, frozen=True):
    """A copy ended: after ``Stop``, or behind our back."""

    instance: int
    why: str


class Used(Fact, frozen=True):
    """What a copy here has to do: requests under way, requests since its start, and the most that were under
    way at once since the last sample."""

    instance: int
    in_flight: int
    requests: int
    most: int


class Sampled(Fact, frozen=True):
    """The node's load and what is free of it (reservations not subtracted), and what its copies do; once a
    second.
    ``wall_s``: seconds since 1970 by this machine's clock, which may be set at any time (0: not told)."""

    capacity: Capacity
    used: tuple[Used, ...] = ()
    wall_s: float = 0.0


class Crowded(Fact, frozen=True):
    """All endpoints of a capsule at this gateway have as many requests as ``SetEndpoints`` said they should."""

    capsule: str


class Drained(Fact, frozen=True):
    """No request is under way at a copy that was told to ``Drain``."""

    instance: int


class Drain(Fact, frozen=True):
    """An operator has this node run nothing any more (``on``), or take copies again."""

    on: bool


class Leave(Fact, frozen=True):
    """This node is about to end on purpose."""


Event = (
    Begin | Tick | LinkUp | LinkDown | DialFailed | PeerSilent | PeerBack | Received | OtherVersion
    | Undelivered | Wanted | Forgone | NotHere | Unreachable | Answered | Publish | Signed | Persisted | Fetched
    | Prepared | Started | StartFailed | Ended | Sampled | Leave | Crowded | Drained | Drain
    | Stalled | Withdraw | Rollback
)  # fmt: skip
