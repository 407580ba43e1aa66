"""Every limit and interval of the core: what it means, its unit, and what larger and smaller cost.

Owns numbers only. It never reads a file or an environment (``falak.config`` does). Constants in capitals are
part of the protocol: every node of a mesh must have the same ones. After memberlist's ``config.go``.
"""

from __future__ import annotations

from typing import Final

import msgspec

PROTOCOL_VERSION: Final = 1
GOSSIP_MAX_BYTES: Final = 16 * 1024
"""One gossiped message. A peer that gets a larger one goes deaf over TCP, so both sides hold to it."""
MESSAGE_MAX_BYTES: Final = 1024 * 1024
"""One message on a stream between two nodes."""
ELECTORS: Final = 5
"""Members that vote on a key and keep its directory entry; fewer in a smaller cell."""
KEEPERS: Final = 3
"""Of the electors, those that store a capsule's record and artifacts on disk."""
CELL_MAX: Final = 256
"""Members of a cell, all linked to one another. The next node is refused with a clear error."""
SMALL_CELL: Final = 4
"""Below this many members one member's word about another is enough, where two must agree in a larger cell."""
GRAVITY_ONE: Final = 1_000_000
"""Gravity crosses the wire and breaks ties as an integer: parts of this."""
EPOCH_JUMP_MAX: Final = 2**16
"""An epoch further ahead than this of the one voted in is refused as nonsense."""
EPOCH_MAX: Final = 2**48
"""No epoch is higher: a million elections of one slot a second would take nine years to get there."""
RENEWALS_IN_TTL: Final = 3
"""A record is renewed so many times in its ttl: two renewals may be lost."""
RENEWAL_JUMP_MAX: Final = 2**16
"""A renewal's counter further ahead than this of the one believed is nonsense, whoever confirms it."""
TTL_MIN_S: Final = 10
TTL_MAX_S: Final = 7 * 24 * 3600
"""A record's ttl lies between these; one outside of them counts as the nearer."""
TOMBSTONE_S: Final = 400 * 24 * 3600
"""A withdrawn capsule's tombstone is kept for this long by the withdrawing node's wall clock."""
AWAY_MAX_S: Final = 30 * 24 * 3600
"""A node that met no other for this long does not trust the records on its disk: it asks the others first."""
NAME_MAX_CHARS: Final = 63
"""Names of capsules, orbits, nodes, zones and tags: one DNS label."""
STEP_SLOTS_MAX: Final = 64
"""Timers and messages to itself that one step of the core handles; the rest is due at once."""


class Settings(msgspec.Struct, frozen=True):
    """What an operator or a test may change. Times in seconds unless the name ends otherwise."""

    heartbeat_s: float = 2.0
    """Least time between two heartbeats of a node. Larger: less traffic, staler load in rankings, a slower
    drop of a silent node. Smaller: the reverse."""
    heartbeat_budget_bytes_s: int = 20_000
    """Received heartbeat bytes a second, copies included, a node of a large cell accepts: the interval grows
    with the members so that this holds. Larger: fresher rankings. Smaller: less traffic."""
    heartbeat_ttl_intervals: int = 3
    """A member not heard for this many intervals is dropped. Larger: fewer false drops. Smaller: faster."""
    unheard_s: float = 1.0
    """A lost link that is not back for this long is a silence. Larger: fewer questions about members whose link
    broke. Smaller: a member behind a cut is left sooner."""
    suspect_s: float = 1.0
    """From "closed and refused" to ``node.drop`` with one report. Larger: more time to refute or restart. Smaller:
    faster."""
    suspect_least_s: float = 0.5
    """The same with three watchers' reports. Larger and smaller: as before."""
    silent_s: float = 10.0
    """From "silent, and nobody hears it" to ``node.drop`` with one report. Larger: longer pauses are forgiven.
    Smaller: a machine that lost its power is dropped sooner."""
    silent_least_s: float = 4.0
    """The same with three watchers' reports. Larger and smaller: as before."""
    redial_first_s: float = 0.05
    redial_max_s: float = 5.0
    """A lost link is dialled again after ``redial_first_s``, doubled with jitter up to ``redial_max_s``.
    Larger: fewer dials to dead nodes. Smaller: links heal faster."""
    redial_forget_s: float = 24 * 3600.0
    """A dropped member is redialled for this long, then forgotten."""
    dial_s: float = 10.0
    """A dial of which nothing is heard for this long is tried again. Above what the transport gives itself."""
    hello_s: float = 3.0
    """A link whose hello is not answered for this long is closed and dialled again. Larger: patience with
    slow nodes. Smaller: faster second tries."""
    join_s: float = 10.0
    """Without an answer of any peer for this long, joining is said to have failed. It goes on trying."""
    settle_s: float = 0.25
    """After the first sync a newcomer meets the members for at most this long before it has joined. Larger: a
    whole view of the mesh at the start, also where links are slow. Smaller: ready sooner."""

    rtt_s: float = 0.001
    """Round trip assumed before one was measured. Larger: later hedges at first. Smaller: needless ones."""
    hedge_floor_s: float = 0.002
    """Least slack over 3.5 round trips before a second elector is called (docs/concepts/elections.md)."""
    hedge_budget: float = 0.1
    """Hedges allowed as a share of calls. Larger: lower tail when electors are slow. Smaller: no storms."""
    hedge_burst: float = 10.0
    """Hedges that may be saved up."""
    call_backoff_max_s: float = 1.0
    """Longest wait between two tries of one call."""
    call_patience_s: float = 2.0
    """After "heard" and nothing more for this long, the next elector is called. Larger: fewer repeats under
    overload. Smaller: a convener that died is replaced sooner."""
    call_deadline_s: float = 9.0
    """A call without a result by then is refused. Below the gateway's parking time."""
    convene_deadline_s: float = 8.0
    """A convener that has no result by then says why not. Below the call's own deadline, so that the caller
    hears the reason."""
    calls_max: int = 4096
    """Calls of this node waiting at once; beyond it requests are refused with "busy"."""

    elections_open_max: int = 8
    """Elections a convener has open at once, the rest wait in order. Larger: faster herds on fast machines.
    Smaller: no collapse on slow ones (simulated: 200 capsules at once, decision 0004)."""
    elections_waiting_max: int = 4096
    """Elections waiting behind those; beyond it a call is refused with "busy"."""
    stagger_rtts: float = 4.0
    """Rank r proposes after r times this many round trips. Larger: fewer doubled starts, slower when the
    first is dead. Smaller: the reverse."""
    candidates_max: int = 5
    """Candidates called to one election. Larger: more messages, more ways out. Smaller: the reverse."""
    candidates_all: int = 8
    """In a cell of at most this many all watchers are candidates, ranked; above it two random choices."""
    look_floor_s: float = 0.001
    """Least slack over two round trips that a convener gives its look at the other electors."""
    vote_hold_s: float = 0.06
    """A vote stands this long against a higher epoch. Larger: fewer double winners, slower after a death.
    Smaller: the reverse (simulated: 60 ms with 200 ms stalls gave none in 600 runs)."""
    election_retry_s: float = 0.1
    """An election in which nothing was decided for this long goes on with a higher epoch."""
    candidacy_s: float = 2.0
    """A candidate that proposed and heard no result for this long withdraws."""
    vote_silence_s: float = 1.0
    """A node that restarted with its key does not vote for this long: it forgot its votes."""

    start_s: float = 30.0
    """A copy that has not started by then has failed. Larger: room for slow starts."""
    starts_max: int = 16
    """Copies that a node starts at once; beyond it a candidate refuses with "busy"."""
    failures_halflife_s: float = 60.0
    """A failure's weight in gravity halves in this time. Larger: longer memory of a bad node."""
    claim_retry_s: float = 0.2
    """A claim that not enough electors acknowledged is delivered again after this long, doubled to 5 s."""
    claim_unready_s: float = 0.005
    """A copy that is not ready this long after its election is told of as it is; a faster one is told of once
    (8 messages of 38 less in a cold election). Well below ``vote_hold_s``, which protects it until then."""
    claims_max: int = 65_536
    """Claims that an elector keeps. Beyond it new ones are not acknowledged."""

    drain_grace_s: float = 10.0
    """A copy that is to end is given this long for the requests and streams under way. Larger: long streams end
    by themselves. Smaller: a node leaves sooner."""
    scale_ask_s: float = 0.25
    """A call for one more or a newer copy that brought none is made again after this long, doubled 5 times.
    Larger: fewer calls. Smaller: a newer generation takes over sooner where nodes are slow."""
    scale_in_s: float = 30.0
    """A copy that fewer copies could do the work of for this long ends. Larger: fewer starts where load comes
    and goes. Smaller: fewer copies that have little to do."""
    scale_in_share: float = 0.8
    """How full the others may get by that, as a share of ``scale.concurrency``. Larger: fewer copies. Smaller:
    less of a chance that one is called for again at once."""
    scale_first_s: float = 0.1
    """After a record came its least copies are called for this late: the others have it too by then."""
    scale_see_s: float = 1.0
    """A slot that must run and was called for is looked at again after this long, doubled up to 5 times while
    it does not stand. Larger: calmer where a capsule cannot start. Smaller: sooner where nodes come and go."""
    herd_per_s: float = 20.0
    """Slots that must run which a node calls for in a second. Larger: whole sooner after a large drop. Smaller:
    no collapse on slow machines."""

    sync_s: float = 10.0
    """Records and tombstones are compared with a random watcher this often. Larger: less traffic. Smaller: what a
    node missed comes sooner."""
    sync_again_s: float = 0.5
    """Where something differed the same two compare again after this long."""
    disk_again_s: float = 30.0
    """A disk that took nothing is tried again this often. Larger: calmer. Smaller: a keeper is back sooner."""
    publish_s: float = 20.0
    """A publication that was not kept by enough others by then has failed."""
    inquiry_s: float = 0.5
    """Waiting for the electors' highest generation or a host's owner before going on with those heard."""
    fetch_tries: int = 3
    """Peers asked for one artifact before fetching has failed."""
    records_max: int = 16_384
    """Records a node keeps. Beyond it new names are not kept, with an event."""
    hosts_max: int = 65_536
    """Hosts an elector keeps an entry for. Beyond it new ones are not entered."""
    unknown_s: float = 1.0
    """How long "unknown" of a name or host is believed before it is asked for again."""
    publications_max: int = 64
    """Launches under way at one node; one more is refused."""
    searches_max: int = 256
    """Unknown hosts looked up at once; requests for one more are refused with "busy"."""


def heartbeat_interval_s(settings: Settings, members: int) -> float:
    """Seconds between two heartbeats of a node in a cell of ``members``.

    A gossiped message crosses the wire about five times per receiver (measured 4.97 at degree 6) and a
    heartbeat is at most 1 KiB, so one node receives ``members * 5 KiB`` in an interval.
    """
    return max(settings.heartbeat_s, members * 5 * 1024 / settings.heartbeat_budget_bytes_s)
