"""Gateways for tests: a `Front` is a mesh node with a gateway and local copies of the probe."""

import os
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from falak import _native as native
from tests import http1
from tests.integration.native.conftest import MakeNode, Node

PROBE = Path(__file__).parents[2] / "guests" / "probe.wasm"
HOST = "probe.test"
SETTINGS = {
    "park_count_max": 100,
    "park_total_max": 200,
    "park_bytes_max": 1 << 20,
    "park_ms": 5000,
    "keys_max": 50,
    "head_ms": 5000,
    "head_max_bytes": 16 * 1024,
    "body_idle_ms": 5000,
    "replay_max_bytes": 64 * 1024,
    "forward_open_ms": 1000,
    "forward_idle_streams": 4,
    "connections_max": 1000,
    "instances_max": 100,
    "heavy_max": 2,
    "slice_ms": 10,
    "log_lines_max": 100,
    "log_line_max_bytes": 1000,
    "command_capacity": 100,
}
LIMITS: dict[str, Any] = {"memory_bytes": 16 << 20, "cpu_ms": 1000, "wall_ms": 5000, "env": {}, "outgoing": []}


class Front:
    """One node. ``http`` is the ``HOST:PORT`` of its gateway, which routes ``HOST`` to the capsule ``probe``."""

    def __init__(self, node: Node, aot: Path, settings: Mapping[str, int]) -> None:
        self.node = node
        self.aot = aot
        self.numbers = count(1)
        self.gateway = native.Gateway(
            node.events, node.mesh, listen="127.0.0.1:0", settings=SETTINGS | dict(settings)
        )
        self.http = self.gateway.address
        self.gateway.set_routes([(HOST, "/", "probe")])

    def load(self, capsule: str = "probe", **limits: Any) -> int:
        """Load one more copy and return its number."""
        number = next(self.numbers)
        self.gateway.load(number, capsule, str(self.aot), **(LIMITS | limits))
        _, ok, _, why = self.node.wait(native.LOADED, number)
        assert ok, why
        return number

    def serve(self, capsule: str = "probe", **limits: Any) -> int:
        """Load a copy and make it the capsule's one endpoint."""
        number = self.load(capsule, **limits)
        self.gateway.set_endpoints(capsule, [("local", str(number), 0)])
        return number

    def forward(self, *others: "Front | str", capsule: str = "probe") -> None:
        """Make other nodes (or peers by their ids) the capsule's endpoints."""
        peers = [other if isinstance(other, str) else other.node.id for other in others]
        self.gateway.set_endpoints(capsule, [("node", peer, 0) for peer in peers])

    def get(self, path: str, host: str = HOST) -> http1.Answer:
        return http1.get(self.http, host, path)

    def send(self, method: str, path: str, **parts: Any) -> http1.Connection:
        """Send a request and leave its answer to be read."""
        connection = http1.Connection(self.http)
        connection.send(http1.request(method, path, parts.pop("host", HOST), **parts))
        return connection

    def ask(self, method: str, path: str, **parts: Any) -> http1.Answer:
        with self.send(method, path, **parts) as connection:
            answer = connection.answer(method)
        assert answer is not None, f"no answer to {method} {path}"
        return answer

    def stats(self, capsule: str = "probe") -> dict[str, Any]:
        return self.gateway.stats()[capsule]

    def until(self, name: str, wanted: int, capsule: str = "probe", within_s: float = 5.0) -> None:
        """Wait until a counter has a value. Counters have no event: they are looked at."""
        for _ in range(int(within_s / 0.01)):
            if self.stats(capsule)[name] == wanted:
                return
            self.node.pump(0.01)
        raise AssertionError(f"{name} of {capsule!r} is {self.stats(capsule)[name]}, not {wanted}")

    def logs(self, capsule: str = "probe", after: int = 0) -> list[str]:
        return [text for _, _, _, text in self.gateway.logs(capsule, after)]

    def logged(self, part: str, capsule: str = "probe") -> str:
        """The first kept line with a part; it may be written a moment after the answer."""
        for _ in range(200):
            for line in self.logs(capsule):
                if part in line:
                    return line
            self.node.pump(0.01)
        raise AssertionError(f"no line with {part!r} in {self.logs(capsule)}")


MakeFront = Callable[..., Front]


@pytest.fixture(scope="session")
def aot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The probe, compiled for this machine."""
    target = tmp_path_factory.mktemp("aot") / "probe.cwasm"
    native.compile(str(PROBE), str(target))
    return target


@pytest.fixture
def make_front(make_node: MakeNode, aot: Path) -> Iterator[MakeFront]:
    """``make_front(park_ms=..., ...)``: a node with a gateway of these settings."""
    fronts: list[Front] = []

    def make(**settings: int) -> Front:
        fronts.append(Front(make_node(), aot, settings))
        return fronts[-1]

    yield make
    for front in fronts:
        front.gateway.close()


@pytest.fixture
def front(make_front: MakeFront) -> Front:
    """One node that serves the probe itself."""
    one = make_front()
    one.serve()
    return one


@pytest.fixture
def two_fronts(make_front: MakeFront) -> tuple[Front, Front]:
    """An entry without a copy, and the holder that it forwards to; they are linked."""
    entry, holder = make_front(), make_front()
    entry.node.dial(holder.node)
    holder.serve()
    entry.forward(holder)
    return entry, holder


def rss_bytes() -> int:
    """Memory of this process."""
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
