"""What a node's core wants done. The driver carries each out in order, once, and reports as an event.

A driver owes: every effect of a step before the next event is stepped (starting it is enough where it takes
time), ``Persisted`` for ``Persist``, ``Fetched`` for ``Fetch``, and so on, each by the deadline its words name.
"""

from __future__ import annotations

import msgspec

from falak.core.model import Artifact, Record
from falak.core.wire import Message


class Deed(msgspec.Struct, frozen=True, gc=False):
    """What all effects are: immutable, made and compared in C (a step makes several)."""


class Send(Deed, frozen=True):
    """A message on the link with a peer. Lost messages are told by ``Undelivered``."""

    peer: str
    message: Message


class Gossip(Deed, frozen=True):
    """A message to every subscriber of a topic."""

    topic: str
    message: Message


class Subscribe(Deed, frozen=True):
    """Hear a topic's gossip from now on."""

    topic: str


class Dial(Deed, frozen=True):
    """Connect to an address; ``peer`` is who should be there ("": unknown). Ends in LinkUp or DialFailed."""

    peer: str
    address: str


class Hangup(Deed, frozen=True):
    """Close the links with a peer."""

    peer: str


class Beat(Deed, frozen=True):
    """Exchange beats with a peer, or stop."""

    peer: str
    on: bool


class Persist(Deed, frozen=True):
    """Store bytes under a key so that they outlive the process (empty: remove). Ends in ``Persisted``."""

    key: str
    value: bytes


class Sign(Deed, frozen=True):
    """Sign a record with this node's key. Ends in ``Signed``."""

    request: int
    record: Record


class Fetch(Deed, frozen=True):
    """Copy an artifact from a peer and verify it. Ends in ``Fetched``."""

    artifact: Artifact
    peer: str


class Prepare(Deed, frozen=True):
    """Make the artifact ready to start from (compile it), in the background. Ends in ``Prepared``."""

    artifact: Artifact
    runtime: str


class Start(Deed, frozen=True):
    """Start a copy as ``instance``. Ends in ``Started`` or ``StartFailed``."""

    instance: int
    record: Record


class DrainCopy(Deed, frozen=True):
    """No request is sent to a copy from now on; ``Drained`` once none is under way there."""

    instance: int


class Left(Deed, frozen=True):
    """Goodbye is said and nothing runs here: the process may end."""


class Stop(Deed, frozen=True):
    """End a copy (also one that is still starting). Ends in ``Ended``."""

    instance: int
    why: str


class Endpoint(Deed, frozen=True):
    """Where a capsule's requests may go: a local copy (``instance``) or another node (``peer``). ``cost``
    is added to the requests in flight when the gateway draws two and takes the lesser."""

    instance: int
    peer: str
    cost: int


class SetEndpoints(Deed, frozen=True):
    """Replace what the gateway knows of a capsule. ``concurrency``: tell by ``Crowded`` when each endpoint has
    as many requests at once (0: never)."""

    capsule: str
    endpoints: tuple[Endpoint, ...]
    concurrency: int = 0


class SetRoutes(Deed, frozen=True):
    """Replace the gateway's table: (host, path prefix, capsule)."""

    routes: tuple[tuple[str, str, str], ...]


class Retry(Deed, frozen=True):
    """Match the requests parked under ``host/HOST`` against the routes again."""

    key: str


class Refuse(Deed, frozen=True):
    """Answer every parked request of the key with a status and a reason for people."""

    key: str
    status: int
    reason: str
    retry_after_s: int


class Published(Deed, frozen=True):
    """What became of ``Publish``: kept by ``keepers`` (``why`` empty), or why not. ``changed`` is false when
    the same content was there already."""

    request: int
    name: str
    generation: int
    keepers: tuple[str, ...]
    changed: bool
    why: str = ""


class Joined(Deed, frozen=True):
    """The node serves from now on (``why`` empty), or no peer answered in time; it goes on trying. ``refused``:
    a peer answered, and will not have this node. ``alone``: it serves though none of the nodes it was told of
    answered; it goes on dialling them."""

    why: str = ""
    refused: bool = False
    alone: bool = False


class Note(Deed, frozen=True):
    """A visible event (``falak events``). ``cause`` ties everything that one request set off together."""

    event: str
    cause: str
    fields: tuple[tuple[str, object], ...]


Effect = (
    Send | Gossip | Subscribe | Dial | Hangup | Beat | Persist | Sign | Fetch | Prepare | Start | Stop
    | SetEndpoints | SetRoutes | Retry | Refuse | Published | Joined | Note | DrainCopy | Left
)  # fmt: skip
