"""What a node's control API answers, as typed dictionaries. Owns names and types, no behaviour.

They are plain dictionaries at run time, so that fields which a newer node adds reach whoever prints them.
Fields are added, never renamed. Names end in their unit; times are seconds since 1970 unless they say else.
"""

from __future__ import annotations

from typing import Literal, NotRequired, Required, TypedDict


class NodeInfo(TypedDict):
    """One node, as it says of itself (``node``). ``http`` is ``HOST:PORT``."""

    id: str
    name: str
    addresses: list[str]
    http: str
    ticket: str
    data: str
    version: str
    wasmtime: str
    cluster: str
    zone: str
    orbits: list[str]
    tags: list[str]
    joined: bool


class CapacityRow(TypedDict, total=False):
    """What a node has and what is free of it; CPU and load in thousandths of a core."""

    cpu_millis: int
    memory_bytes: int
    free_cpu_millis: int
    free_memory_bytes: int
    load_millis: int


class NodeRow(TypedDict):
    """A member as the asked node sees it (``nodes``). ``self`` marks the asked node; ``evidence``: why it is suspect
    or was dropped; ``stores`` is false where its disk takes nothing."""

    name: str
    id: str
    state: Literal["alive", "suspect", "dropped", "left"]
    cluster: str
    zone: str
    orbits: list[str]
    tags: list[str]
    addresses: list[str]
    http: str
    incarnation: int
    capacity: CapacityRow
    claims: int
    rtt_ms: float
    linked: bool
    stores: bool
    draining: bool
    self: bool
    evidence: str


class CopyRow(TypedDict):
    """A running copy (``ps``). ``p50_ms`` and ``p99_ms`` are the upper bounds of the buckets that half of its
    capsule's requests at that node and 99 % of them fall into."""

    capsule: str
    version: str
    generation: int
    node: str
    node_id: str
    slot: int
    state: str
    since_s: float
    load_ms: float
    requests: int
    errors: int
    parked: int
    in_flight: int
    p50_ms: float
    p99_ms: float
    memory_limit_bytes: int


class Copies(TypedDict):
    """All copies; ``partial`` when ``missing`` nodes did not answer in time."""

    rows: list[CopyRow]
    partial: bool
    missing: list[str]


class Drained(TypedDict):
    """What a drain came to: the node's name, its state (``draining`` or ``serving``), copies it had before."""

    node: str
    state: str
    copies: int


class OrbitRow(TypedDict):
    """An orbit that somebody watches or a capsule is in."""

    orbit: str
    watched: bool
    watchers: list[str]
    capsules: list[str]


class CapsuleRow(TypedDict):
    """A capsule that orbits, as the asked node knows it. ``left_s``: until it leaves the orbit unless it is renewed;
    ``not_after``: when it leaves for good (0: never)."""

    name: str
    version: str
    generation: int
    orbit: str
    kind: str
    runtime: str
    publisher: str
    keepers: list[str]
    kept_here: bool
    artifact: Literal["nothing", "here", "prepared"]
    hosts: list[str]
    size_bytes: int
    ttl_s: int
    left_s: float
    keep: bool
    not_after: int


class EventRow(TypedDict, total=False):
    """A visible event. More fields by its kind: docs/reference/events.md."""

    n: int
    at: float
    node: str
    event: str
    cause: str
    capsule: str


class Gathered(TypedDict):
    """The end of something asked of many nodes; ``ended``: it was followed until the asked node ended."""

    partial: bool
    missing: list[str]
    ended: NotRequired[bool]


class Story(TypedDict):
    """Everything that the newest request of a capsule which had to wait set off, ordered by time."""

    capsule: str
    cause: str
    events: list[EventRow]
    missing: list[str]


class LogRow(TypedDict):
    """A line that a copy wrote."""

    node: str
    n: int
    at: float
    stream: Literal["stdout", "stderr"]
    text: str


class Stage(TypedDict, total=False):
    """A step of a launch that was done, and what it took. ``taken`` has digest and size, ``checked`` the
    component's exports, ``kept`` generation, keepers and changed, ``called`` the status."""

    stage: Required[Literal["taken", "checked", "kept", "called"]]
    ms: Required[float]
    digest: str
    size_bytes: int
    exports: list[str]
    generation: int
    keepers: list[str]
    changed: bool
    status: int


class Answered(TypedDict):
    """The capsule's answer to the request that ends a launch."""

    status: int
    ms: float


class Launched(TypedDict):
    """A finished launch; ``answered`` is None when it was not called."""

    name: str
    generation: int
    version: str
    keepers: list[str]
    changed: bool
    url: str
    answered: Answered | None


class RolledBack(TypedDict):
    """What a rollback published: old content as a newer generation."""

    name: str
    generation: int
    version: str
    keepers: list[str]
    changed: bool


class Withdrawn(TypedDict):
    """A capsule that is out of its orbit; ``drained``: nodes that ran it. ``generation`` is its tombstone's."""

    name: str
    generation: int
    keepers: list[str]
    changed: bool
    drained: list[str]
