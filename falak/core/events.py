"""What can happen to a node, as the core is told of it. Facts only: already verified, in any order.

The other half of the vocabulary is ``effects``. Adapters (the daemon's, the simulator's) make these; the core
never looks for them. ``peer`` is always the id that the transport proved.
"""

from __future__ import annotations

from dataclasses import dataclass

from falak.core.model import Capacity, Record, SignedRecord
from falak.core.wire import Message


@dataclass(frozen=True, slots=True)
class Begin:
    """The first event. ``contacts`` are addresses to join through (none: this node starts a mesh);
    ``must_join``: without an answer it does not serve (they came from tickets, not from the address book).
    ``kept`` are the records and ``artifacts`` the digests found on disk. ``incarnation`` is one more than the
    last one persisted (1: a new key)."""

    incarnation: int
    addresses: tuple[str, ...]
    contacts: tuple[str, ...] = ()
    must_join: bool = False
    kept: tuple[SignedRecord, ...] = ()
    artifacts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing but time has passed: what is due by now is done."""


@dataclass(frozen=True, slots=True)
class LinkUp:
    """A link with a peer was made, by us (``dialer``) or by it."""

    peer: str
    address: str
    dialer: bool


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The last connection with a peer closed."""

    peer: str
    cause: str


@dataclass(frozen=True, slots=True)
class DialFailed:
    """A dial of ``Dial.address`` failed; ``refused``: nobody listens there. ``peer`` as it was in the Dial."""

    peer: str
    address: str
    refused: bool
    why: str


@dataclass(frozen=True, slots=True)
class PeerSilent:
    """A watched peer sent no beat for a while though its link is open."""

    peer: str
    silence_s: float


@dataclass(frozen=True, slots=True)
class PeerBack:
    """It sends beats again."""

    peer: str


@dataclass(frozen=True, slots=True)
class Received:
    """A message on the link with ``peer``, or gossip that ``peer`` signed."""

    peer: str
    message: Message


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Messages to the peer were lost because its link broke or its queue was full."""

    peer: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """Requests are parked at this node's gateway under ``key``: a capsule's name, or ``host/HOST``."""

    key: str


@dataclass(frozen=True, slots=True)
class Forgone:
    """Nobody waits for the key any more."""

    key: str


@dataclass(frozen=True, slots=True)
class NotHere:
    """The peer answered a forwarded request with "I have no copy"."""

    capsule: str
    peer: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A request could not be handed to the peer: evidence of our own."""

    capsule: str
    peer: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The first request that had been parked for ``key`` got its response's head."""

    key: str
    parked_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class Publish:
    """A person publishes a record here; its generation is filled in by the core. ``ticket`` returns in
    ``Published``."""

    request: int
    record: Record


@dataclass(frozen=True, slots=True)
class Signed:
    """``Sign`` was done."""

    request: int
    record: SignedRecord


@dataclass(frozen=True, slots=True)
class Persisted:
    """``Persist`` was done (``why`` empty) or failed."""

    key: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """``Fetch`` ended: the artifact is here (``why`` empty), or not."""

    digest: str
    peer: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """``Prepare`` ended: a copy can start at once. ``capsule_fault``: the artifact itself is bad."""

    digest: str
    why: str = ""
    capsule_fault: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """``Start`` ended well. ``load_s`` is what it took in the runtime."""

    instance: int
    load_s: float


@dataclass(frozen=True, slots=True)
class StartFailed:
    """``Start`` ended badly. ``capsule_fault``: it would anywhere."""

    instance: int
    why: str
    capsule_fault: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """A copy ended: after ``Stop``, or behind our back."""

    instance: int
    why: str


@dataclass(frozen=True, slots=True)
class Sampled:
    """The node's load and what is free of it (reservations not subtracted), once a second."""

    capacity: Capacity


@dataclass(frozen=True, slots=True)
class Leave:
    """This node is about to end on purpose."""


Event = (
    Begin | Tick | LinkUp | LinkDown | DialFailed | PeerSilent | PeerBack | Received | Undelivered
    | Wanted | Forgone | NotHere | Unreachable | Answered | Publish | Signed | Persisted | Fetched | Prepared
    | Started | StartFailed | Ended | Sampled | Leave
)  # fmt: skip
