"""The contract of the native extension: what carries Falak's bytes, and decides nothing.

Three objects and a few functions. ``Events`` is the one bounded queue out; ``Mesh`` (libp2p) and
``Gateway`` (HTTP, WASM) take commands in. ``falak.seam`` is the only importer of this module.

Rules of the seam
- No call blocks on the network and none runs Python from a native thread: results come as events.
- Network threads never take the GIL. One eventfd wake-up is written per batch of events.
- Commands raise ``BlockingIOError`` when the bounded command queue (``command_capacity``) is full,
  ``ConnectionError`` once closed, ``ValueError`` for a value that cannot be right (named in the text).
- A panic in native code becomes one ``FATAL`` event with the panic's text.
- Peers are base58 PeerIds, addresses are multiaddrs with or without ``/p2p/ID``, times are what the
  name's unit says. ``token`` is the caller's own number and comes back in the event that answers.

Every event is a tuple whose first item is one of the kinds below:

====================  =====================================================================================
kind                  the rest of the tuple
====================  =====================================================================================
``LISTENING``         (address)                             a mesh address this node now listens on
``LINK_UP``           (peer, address, dialer: bool)         the first connection with the peer was made
``LINK_DOWN``         (peer, cause)                         its last connection is gone
``DIALED``            (token, peer)                         ``dial`` ended in a connection
``DIAL_FAILED``       (token, peer | None, refused: bool, why, answered_by | None)  it did not; refused: nobody
                                                            listens there; answered_by: whoever does instead
``MESSAGE``           (peer, data)                          one frame of the peer's message stream
``UNDELIVERED``       (peer, frames, why)                   frames given to ``send`` that were not written
``GOSSIP``            (topic, source, via, data)            a signed gossip message; source is verified
``ASKED``             (ask, peer, data)                     a request; owed one ``answer(ask, ...)``
``ANSWERED``          (token, ok: bool, data | why)         the answer to ``ask``, or why there is none
``FETCHED``           (token, ok: bool, size_bytes, why)    ``fetch`` ended
``PEER_SILENT``       (peer, silence_ms)                    no beat from a watched peer for ``beat_silent_ms``
``PEER_BACK``         (peer)                                a beat came again after ``PEER_SILENT``
``WANTED``            (key, parked, waited_us)              requests are parked and nothing can answer them
``FORGONE``           (key)                                 the last parked request of the key left unanswered
``FIRST_BYTE``        (key, parked_us, total_us)            the first parked request after a WANTED was answered:
                                                            time parked, and from its arrival to the response head
``NOT_HERE``          (capsule, peer)                       the peer said that it has no copy
``UNREACHABLE``       (capsule, peer, why)                  a request could not be handed to the peer
``LOADED``            (instance, ok: bool, load_us, why)    ``load`` ended
``CROWDED``           (capsule)                             all its endpoints have ``concurrency`` requests, or all
                                                            copies here where another node sent one; at most once
                                                            in 200 ms
``FATAL``             (why)                                 native code panicked: end the process
====================  =====================================================================================

Bounds of the queue (``capacity`` events, and 64 MiB of payload): ``GOSSIP`` beyond them is dropped and
counted (``dropped``); readers of ``MESSAGE`` and ``ASKED`` streams stop reading (the peer feels backpressure)
until there is room, and a peer's stream already when 1/64 of the queue (at least 256) are its messages, so that
one that floods makes nobody else wait; every other kind is bounded by what was asked for or by connections and
is never dropped.
"""

from collections.abc import Mapping, Sequence
from typing import Final, final

LISTENING: Final = 1
LINK_UP: Final = 2
LINK_DOWN: Final = 3
DIALED: Final = 4
DIAL_FAILED: Final = 5
MESSAGE: Final = 6
UNDELIVERED: Final = 7
GOSSIP: Final = 8
ASKED: Final = 9
ANSWERED: Final = 10
FETCHED: Final = 11
PEER_SILENT: Final = 12
PEER_BACK: Final = 13
WANTED: Final = 14
FORGONE: Final = 15
FIRST_BYTE: Final = 16
NOT_HERE: Final = 17
UNREACHABLE: Final = 18
LOADED: Final = 19
CROWDED: Final = 20
FATAL: Final = 99

VERSION: Final[str]
"""Version of the extension's workspace, equal to ``falak.__version__``."""

WASMTIME_VERSION: Final[str]
"""Version of the wasmtime crate inside: part of the name of an AOT cache folder."""

CPU: Final[str]
"""Target triple and the CPU features that compiled code may use, as one short file-name-safe word."""

@final
class Events:
    """The bounded queue of everything native code has to tell."""

    def __new__(cls, *, capacity: int) -> Events: ...
    def fileno(self) -> int:
        """An eventfd, readable while events wait. Owned by this object."""

    def drain(self, max: int = 1024) -> list[tuple[object, ...]]:
        """Take up to ``max`` events, oldest first. The eventfd stays readable while more wait."""

    def counters(self) -> dict[str, int]:
        """``{"queued", "dropped", "drained"}``, since the start."""

    def touch(self) -> None:
        """Move the counter that lets beats go out. Python's loop calls it at least every 250 ms."""

@final
class Mesh:
    """A libp2p node: TCP, noise, yamux, a network key; gossip, messages, requests, blobs, HTTP, beats.

    ``settings`` holds all of these (missing or unknown names raise ``ValueError``):
    ``gossip_max_bytes`` (16384; both sides: a larger one is refused at ``publish``),
    ``message_max_bytes`` (1 MiB, one frame of a stream), ``message_queue_frames`` (per peer),
    ``message_write_ms`` (deadline for one frame), ``ask_concurrent`` (asks in flight per peer, in and out),
    ``handshake_ms`` (3000), ``connections_max``, ``connections_pending_max``, ``connections_per_peer_max``,
    ``memory_max_bytes`` (new connections are refused above this RSS), ``beat_ms`` (250),
    ``beat_silent_ms`` (1000), ``beat_stale_ms`` (500: no beat goes out when ``Events.touch`` was not
    called for this long), ``gossip_mesh`` (target degree D), ``gossip_heartbeat_ms``,
    ``blob_idle_ms`` (a fetch that moves no byte for this long fails), ``blob_concurrent`` (served at once),
    ``http_streams_max`` (inbound HTTP streams a peer), ``command_capacity``.
    """

    def __new__(
        cls,
        events: Events,
        *,
        key_seed: bytes,
        network_key: bytes,
        listen: Sequence[str],
        blobs: str,
        settings: Mapping[str, int],
    ) -> Mesh:
        """Start the swarm. ``key_seed`` and ``network_key`` are 32 bytes; ``blobs`` is the folder whose
        files, named by the hex of their sha256, are served to peers. Raises ``ValueError``, and
        ``OSError`` when an address cannot be listened on (its errno kept where there is one)."""

    @property
    def peer_id(self) -> str: ...
    def dial(self, token: int, address: str) -> None:
        """Connect; ends in ``DIALED`` or ``DIAL_FAILED``, within ``handshake_ms`` + 1 s."""

    def disconnect(self, peer: str) -> None:
        """Close every connection with the peer (``LINK_DOWN`` follows)."""

    def subscribe(self, topic: str) -> None: ...
    def unsubscribe(self, topic: str) -> None: ...
    def publish(self, topic: str, data: bytes) -> None:
        """Gossip, signed. Raises ``ValueError`` above ``gossip_max_bytes``. Without peers it is dropped."""

    def send(self, peer: str, data: bytes) -> None:
        """Queue one frame on the held message stream to a connected peer, opened when first needed; in
        order. What cannot be written (not connected, queue full, deadline) comes as ``UNDELIVERED``."""

    def ask(self, token: int, peer: str, data: bytes, deadline_ms: int) -> None:
        """One request on a stream of its own; ends in ``ANSWERED`` by the deadline."""

    def answer(self, ask: int, data: bytes) -> None:
        """Answer an ``ASKED``. An unknown or expired number is ignored."""

    def fetch(self, token: int, peer: str, digest: str, size_bytes: int, path: str) -> None:
        """Copy a blob of the peer to ``path`` (written beside it, verified against the sha256 hex and the
        size while it streams, renamed at the end). Ends in ``FETCHED``."""

    def beat(self, peer: str, on: bool) -> None:
        """Exchange beats with a peer: send ours on a held stream and watch theirs."""

    def counters(self) -> dict[str, int]:
        """Now: ``connections``, ``pending``. Since the start: ``gossip_in``, ``gossip_out``,
        ``gossip_refused`` (publishes that reached nobody), ``frames_in``, ``frames_out``,
        ``asks_in``, ``asks_out``, ``blob_bytes_in``, ``blob_bytes_out``, ``beats_in``,
        ``beats_out``, ``refused_connections``, ``peer_errors`` (strangers' malformed input)."""

    def close(self) -> None:
        """Stop the swarm and close its sockets. Safe to call twice; waits at most 1 s."""

@final
class Gateway:
    """HTTP/1.1 and h2c in; out to local WASM copies or to other nodes over the mesh connection.

    ``settings`` holds all of these (missing or unknown names raise ``ValueError``):
    ``park_count_max`` (parked requests a key), ``park_total_max``, ``park_bytes_max`` (heads of parked
    requests, all keys), ``park_ms`` (then 503 with Retry-After), ``keys_max`` (keys with parked requests),
    ``head_ms`` (time for a request's head), ``head_max_bytes``, ``body_idle_ms`` (a body that moves no byte
    for this long is cut), ``replay_max_bytes`` (request body kept to be sent again after "not here"),
    ``forward_open_ms`` (deadline for a stream to another node), ``forward_idle_streams`` (kept a peer),
    ``connections_max`` (inbound; above it new ones wait in the backlog), ``instances_max`` (WASM instances
    at once, all capsules; above it 503), ``heavy_max`` (guests past their slice that run at once),
    ``slice_ms`` (CPU slice before a guest moves to the low-priority threads), ``log_lines_max`` and
    ``log_line_max_bytes`` (kept a capsule), ``command_capacity``.
    """

    def __new__(cls, events: Events, mesh: Mesh | None, *, listen: str, settings: Mapping[str, int]) -> Gateway:
        """Listen on ``HOST:PORT`` (port 0: a free one). Raises ``OSError`` with its errno when it cannot."""

    @property
    def address(self) -> str:
        """The ``HOST:PORT`` listened on."""

    def set_routes(self, routes: Sequence[tuple[str, str, str]]) -> None:
        """Replace the table of ``(host, path_prefix, capsule)``: exact host without port, lower case; the
        longest prefix wins, and a prefix matches whole path segments. A request that no route matches is
        parked under the key ``host/HOST``; a capsule's requests under its name."""

    def set_endpoints(
        self, capsule: str, endpoints: Sequence[tuple[str, str, int]], concurrency: int = 0
    ) -> None:
        """Replace a capsule's endpoints: ``("local", str(instance), cost)`` or ``("node", peer, cost)``.
        Of two drawn at random the one with the smaller ``cost + requests in flight`` is taken.
        Non-empty: parked requests go on. Empty: the next request is parked and told of by ``WANTED``.
        A request that an endpoint could not be given (nothing of it was sent, or it is idempotent and nothing
        was answered) goes to another one, or is parked again, until ``park_ms`` after it came.
        ``concurrency``: requests that each should have at once, for ``CROWDED``; 0: as many as come."""

    def retry(self, key: str) -> None:
        """Match the parked requests of ``host/HOST`` against the routes again."""

    def refuse(self, key: str, status: int, reason: str, retry_after_s: int) -> None:
        """Answer every parked request of the key (Retry-After only when above 0)."""

    def load(
        self,
        instance: int,
        capsule: str,
        path: str,
        *,
        memory_bytes: int,
        cpu_ms: int,
        wall_ms: int,
        env: Mapping[str, str],
        outgoing: Sequence[str],
    ) -> None:
        """Map an AOT file made by ``compile`` on this machine and link it as a local copy; ends in
        ``LOADED``. One loaded module serves all instances of the same path. ``outgoing`` is the list of
        hosts a guest may call; empty: none."""

    def unload(self, instance: int) -> None:
        """Forget a copy. Requests in flight end by themselves."""

    def copies(self) -> dict[int, tuple[int, int, int]]:
        """By number of a loaded copy: requests under way, requests since it was loaded, and the most that were
        under way at once since the last call of this."""

    def logs(self, capsule: str, after: int) -> list[tuple[int, float, str, str]]:
        """Kept lines ``(number, wall_time_s, "stdout" | "stderr", text)`` with a number above ``after``."""

    def stats(self) -> dict[str, dict[str, object]]:
        """By capsule: ``requests``, ``responses`` (by class: ``{"2xx": n, ...}``), ``forwarded``,
        ``not_here``, ``parked``, ``parked_total``, ``shed``, ``gone`` (clients that left while parked),
        ``traps``, ``timeouts``, ``in_flight``, ``last_us_ago``, and ``latency``: counts in the buckets of
        ``LATENCY_BUCKETS_US`` plus one above. The key ``""`` counts what matched no capsule, with
        ``connections`` and ``bad_requests``."""

    def close(self) -> None:
        """Stop accepting, let requests in flight end for up to 1 s, close. Safe to call twice."""

LATENCY_BUCKETS_US: Final[tuple[int, ...]]

def compile(source: str, target: str) -> None:
    """Compile a component to an AOT file for this CPU (seconds of CPU: run it in a niced subprocess).

    Raises ``ValueError`` with a text for people: not WASM at all, a core module, not a wasi:http/proxy
    component (no ``wasi:http/incoming-handler`` export), or imports that nothing here provides (named)."""

def inspect(source: str) -> dict[str, list[str]]:
    """``{"imports": [...], "exports": [...]}`` of a component, by interface name. Raises as ``compile``."""

def sign(key_seed: bytes, data: bytes) -> bytes:
    """Ed25519 signature by the key made from 32 bytes."""

def verify(peer: str, data: bytes, signature: bytes) -> bool:
    """Whether the identity behind an (Ed25519) PeerId signed ``data``. Malformed input is ``False``."""

def peer_id(key_seed: bytes) -> str:
    """The PeerId of the key made from 32 bytes."""
