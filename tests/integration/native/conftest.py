"""Nodes for tests of the extension: one `Node` is an event queue and a mesh, waited on with deadlines.

It never sleeps for something to happen: `Node.wait` blocks on the queue's eventfd.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from falak import _native as native

NETWORK_KEY = bytes(range(32))
LOOPBACK = "/ip4/127.0.0.1/tcp/0"
SETTINGS = {
    "gossip_max_bytes": 16 * 1024,
    "message_max_bytes": 1024 * 1024,
    "message_queue_frames": 1024,
    "message_write_ms": 2000,
    "ask_concurrent": 64,
    "handshake_ms": 3000,
    "connections_max": 512,
    "connections_pending_max": 128,
    "connections_per_peer_max": 4,
    "memory_max_bytes": 4 << 30,
    "beat_ms": 50,
    "beat_silent_ms": 400,
    "beat_stale_ms": 150,
    "gossip_mesh": 6,
    "gossip_heartbeat_ms": 200,
    "blob_idle_ms": 1000,
    "blob_concurrent": 8,
    "http_streams_max": 64,
    "command_capacity": 4096,
}

Event = tuple[Any, ...]


class Node:
    """A mesh node with its queue. ``address`` has its ``/p2p/`` part."""

    def __init__(self, seed: int, folder: Path, **options: Any) -> None:
        self.seed = seed.to_bytes(32, "big")
        self.events = native.Events(capacity=options.pop("capacity", 4096))
        self.blobs = folder
        settings: Mapping[str, int] = SETTINGS | options.pop("settings", {})
        self.mesh = native.Mesh(
            self.events,
            key_seed=self.seed,
            network_key=options.pop("network_key", NETWORK_KEY),
            listen=options.pop("listen", [LOOPBACK]),
            blobs=str(folder),
            settings=settings,
        )
        assert not options, f"unknown options: {options}"
        self.id = self.mesh.peer_id
        self.tokens = count(1)
        self.waiting: list[Event] = []

    @property
    def address(self) -> str:
        if not hasattr(self, "_address"):
            self._address = self.wait(native.LISTENING)[0]
        return f"{self._address}/p2p/{self.id}"

    @property
    def port(self) -> int:
        return int(self.address.split("/")[4])

    def pump(self, within_s: float) -> None:
        """Move what the queue has into ``waiting``; block for it at most ``within_s``."""
        poll = select.poll()
        poll.register(self.events.fileno(), select.POLLIN)
        if poll.poll(max(0.0, within_s) * 1000):
            self.waiting += self.events.drain()
        fatal = [event for event in self.waiting if event[0] == native.FATAL]
        assert not fatal, fatal

    def wait(self, kind: int, *start: object, within_s: float = 5.0) -> Event:
        """The rest of the oldest event of a kind whose rest begins with ``start``; others stay."""
        deadline = time.monotonic() + within_s
        while True:
            for event in self.waiting:
                if event[0] == kind and event[1 : 1 + len(start)] == start:
                    self.waiting.remove(event)
                    return event[1:]
            left = deadline - time.monotonic()
            assert left > 0, f"no event {kind} {start} within {within_s} s; there are {self.waiting[:20]}"
            self.pump(left)

    def none_of(self, kind: int, for_s: float) -> bool:
        """Whether no event of a kind comes for a time. Only for what must not happen."""
        deadline = time.monotonic() + for_s
        while (left := deadline - time.monotonic()) > 0:
            self.pump(left)
        return not [event for event in self.waiting if event[0] == kind]

    def dial(self, other: "Node") -> None:
        token = next(self.tokens)
        self.mesh.dial(token, other.address)
        self.wait(native.DIALED, token, other.id)
        other.wait(native.LINK_UP, self.id)

    def ask(self, peer: str, data: bytes, deadline_ms: int = 3000) -> tuple[bool, Any]:
        """Send an ask and wait for what becomes of it."""
        token = next(self.tokens)
        self.mesh.ask(token, peer, data, deadline_ms)
        _, ok, answer = self.wait(native.ANSWERED, token, within_s=deadline_ms / 1000 + 2)
        return ok, answer

    def answer_next(self, answer: bytes) -> bytes:
        """Answer the next ask; its data."""
        ask, _, data = self.wait(native.ASKED)
        self.mesh.answer(ask, answer)
        return bytes(data)

    def count_until(self, name: str, least: int, within_s: float = 5.0, pump: bool = True) -> int:
        """Wait until a counter is at least so high. Counters have no event: they are looked at.
        ``pump=False`` leaves the queue as full as it is."""
        deadline = time.monotonic() + within_s
        while (value := self.mesh.counters()[name]) < least:
            assert time.monotonic() < deadline, f"{name} is {value}, not {least}"
            self.pump(0.01) if pump else time.sleep(0.01)
        return value


MakeNode = Callable[..., Node]


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[MakeNode]:
    """``make_node(settings={...}, listen=[...], network_key=..., capacity=...)``; closed at the end."""
    nodes: list[Node] = []
    numbers = count(os.getpid() << 20)

    def make(**options: Any) -> Node:
        number = next(numbers)
        folder = tmp_path / f"blobs{number}"
        folder.mkdir()
        nodes.append(Node(options.pop("seed", number), folder, **options))
        return nodes[-1]

    yield make
    for node in nodes:
        node.mesh.close()
        node.pump(0)


@pytest.fixture
def pair(make_node: MakeNode) -> tuple[Node, Node]:
    """Two linked nodes."""
    one, two = make_node(), make_node()
    one.dial(two)
    return one, two


class Peer:
    """A node in a process of its own (`peer_process.py`), which can be stopped and killed."""

    def __init__(self, seed: int, blobs: Path, settings: dict[str, int]) -> None:
        options = {
            "seed": seed,
            "network_key": NETWORK_KEY.hex(),
            "blobs": str(blobs),
            "settings": SETTINGS | settings,
        }
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("peer_process.py")), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        )
        assert self.process.stdout
        told = json.loads(self.process.stdout.readline())
        self.id: str = told["id"]
        self.address: str = told["address"]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def link(self, node: Node) -> None:
        node.mesh.dial(0, self.address)
        node.wait(native.DIALED, 0, self.id)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


MakePeer = Callable[..., Peer]


@pytest.fixture
def make_peer(tmp_path: Path) -> Iterator[MakePeer]:
    """``make_peer(beat_ms=..., ...)``: a node in a process of its own with these settings."""
    peers: list[Peer] = []

    def make(**settings: int) -> Peer:
        blobs = tmp_path / f"peer{len(peers)}"
        blobs.mkdir()
        peers.append(Peer((os.getpid() << 20) + (1 << 16) + len(peers), blobs, settings))
        return peers[-1]

    yield make
    for peer in peers:
        peer.end()
