"""What a node's core wants done. The driver carries each out in order, once, and reports as an event.

A driver owes: every effect of a step before the next event is stepped (starting it is enough where it takes
time), ``Persisted`` for ``Persist``, ``Fetched`` for ``Fetch``, and so on, each by the deadline its words name.
"""

from __future__ import annotations

from dataclasses import dataclass

from falak.core.model import Artifact, Record
from falak.core.wire import Message


@dataclass(frozen=True, slots=True)
class Send:
    """A message on the link with a peer. Lost messages are told by ``Undelivered``."""

    peer: str
    message: Message


@dataclass(frozen=True, slots=True)
class Gossip:
    """A message to every subscriber of a topic."""

    topic: str
    message: Message


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Hear a topic's gossip from now on."""

    topic: str


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect to an address; ``peer`` is who should be there ("": unknown). Ends in LinkUp or DialFailed."""

    peer: str
    address: str


@dataclass(frozen=True, slots=True)
class Hangup:
    """Close the links with a peer."""

    peer: str


@dataclass(frozen=True, slots=True)
class Beat:
    """Exchange beats with a peer, or stop."""

    peer: str
    on: bool


@dataclass(frozen=True, slots=True)
class Persist:
    """Store bytes under a key so that they outlive the process (empty: remove). Ends in ``Persisted``."""

    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Sign:
    """Sign a record with this node's key. Ends in ``Signed``."""

    request: int
    record: Record


@dataclass(frozen=True, slots=True)
class Fetch:
    """Copy an artifact from a peer and verify it. Ends in ``Fetched``."""

    artifact: Artifact
    peer: str


@dataclass(frozen=True, slots=True)
class Prepare:
    """Make the artifact ready to start from (compile it), in the background. Ends in ``Prepared``."""

    artifact: Artifact
    runtime: str


@dataclass(frozen=True, slots=True)
class Start:
    """Start a copy as ``instance``. Ends in ``Started`` or ``StartFailed``."""

    instance: int
    record: Record


@dataclass(frozen=True, slots=True)
class Stop:
    """End a copy (also one that is still starting). Ends in ``Ended``."""

    instance: int
    why: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a capsule's requests may go: a local copy (``instance``) or another node (``peer``). ``cost``
    is added to the requests in flight when the gateway draws two and takes the lesser."""

    instance: int
    peer: str
    cost: int


@dataclass(frozen=True, slots=True)
class SetEndpoints:
    """Replace what the gateway knows of a capsule."""

    capsule: str
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class SetRoutes:
    """Replace the gateway's table: (host, path prefix, capsule)."""

    routes: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Retry:
    """Match the requests parked under ``host/HOST`` against the routes again."""

    key: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer every parked request of the key with a status and a reason for people."""

    key: str
    status: int
    reason: str
    retry_after_s: int


@dataclass(frozen=True, slots=True)
class Published:
    """What became of ``Publish``: kept by ``keepers`` (``why`` empty), or why not. ``changed`` is false when
    the same content was there already."""

    request: int
    name: str
    generation: int
    keepers: tuple[str, ...]
    changed: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Joined:
    """The node serves from now on (``why`` empty), or no peer answered in time; it goes on trying. ``refused``:
    a peer answered, and will not have this node."""

    why: str = ""
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """A visible event (``falak events``). ``cause`` ties everything that one request set off together."""

    event: str
    cause: str
    fields: tuple[tuple[str, object], ...]


Effect = (
    Send | Gossip | Subscribe | Dial | Hangup | Beat | Persist | Sign | Fetch | Prepare | Start | Stop
    | SetEndpoints | SetRoutes | Retry | Refuse | Published | Joined | Note
)  # fmt: skip
