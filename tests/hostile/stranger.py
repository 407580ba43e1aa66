"""A stranger in the mesh: a bare ``falak._native.Mesh`` that has the network key and says what it likes."""

import base64
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from falak import _native as native
from falak.core import wire
from falak.core.model import Identity, Profile
from tests.asking import get, states
from tests.integration.native.conftest import Node
from tests.nodes import Running, until

HEARTBEATS = "/falak/1/heartbeat/main"
CAPSULE = "victim"
"""The capsule of the attacked mesh."""
seeds = count(os.getpid() << 24)


def network_key(node: Running) -> bytes:
    return base64.b64decode(json.loads((node.data / "identity").read_text())["network_key"])


class Stranger(Node):
    """One identity of the stranger's, linked with a node."""

    def __init__(self, target: Running, folder: Path, **options: Any) -> None:
        options.setdefault("network_key", network_key(target))
        super().__init__(next(seeds), folder, **options)
        self.target = target
        self.name = f"stranger-{int.from_bytes(self.seed) % 10_000}"
        self.boot = 7
        self.token = count(1)

    @property
    def profile(self) -> Profile:
        me = Identity(self.id, self.name, self.boot)
        return Profile(me, 1, (self.address,), ("default",), arch="x", runtimes=("wasm",))

    def link(self) -> None:
        token = next(self.token)
        self.mesh.dial(token, self.target.ready["addresses"][0])
        self.wait(native.DIALED, token)

    def join(self) -> None:
        """Link and be taken for a member."""
        self.link()
        self.say(wire.Hello(self.profile, joining=True))
        until(lambda: states(self.target).get(self.name) == "alive", "the stranger is a member")

    def say(self, message: wire.Message) -> None:
        self.mesh.send(self.target.ready["id"], wire.encode(message))

    def heard(self, kind: type[Any], within_s: float = 5.0) -> Any:
        """The next message of a kind that the target sends; others are passed over."""
        deadline = time.monotonic() + within_s
        while True:
            left = deadline - time.monotonic()
            _, data = self.wait(native.MESSAGE, self.target.ready["id"], within_s=max(left, 0.001))
            if isinstance(message := wire.decode(data), kind):
                return message

    def settled(self) -> None:
        """Wait until everything sent before was taken in: an answer comes on the same stream after it."""
        stamp = next(seeds)
        self.say(wire.Ping(stamp))
        while self.heard(wire.Pong).stamp_us != stamp:
            pass


def speaks(one: Stranger) -> bool:
    with suppress(AssertionError):
        one.say(wire.Ping(1))
        one.heard(wire.Pong, within_s=0.2)
        return True
    return False


def serves(node: Running) -> bool:
    return get(node, CAPSULE).status == 200


def noted(nodes: list[Running]) -> dict[str, int]:
    """The number of each node's newest event."""
    return {
        node.name: max((event["n"] for event in node.client.events(local=True)), default=0) for node in nodes
    }


def unharmed(nodes: list[Running], before: dict[str, int]) -> None:
    """The nodes live, see one another, raised nothing and answer; none was dropped at all, or suspected since
    ``before`` the strangers came (a busy machine may have had one suspect another while they started)."""
    names = {node.name for node in nodes}
    for node in nodes:
        assert node.process.poll() is None, node.said()
        assert node.client.counters()["loop"]["errors"] == 0, node.said()
        seen = states(node)
        assert {name: seen[name] for name in names} == dict.fromkeys(names, "alive"), node.name
        # Who was too busy to take a request is passed over until it is heard again.
        until(partial(serves, node), f"{node.name} serves")
        told = [event for event in node.events("node.suspect", "node.drop") if event["member"] in names]
        against = [event for event in told if event["event"] == "node.drop" or event["n"] > before[node.name]]
        assert not against, f"{node.name}: {against}"


def counted(node: Running, name: str) -> int:
    """A counter by its name, wherever it is counted."""
    return sum(int(part.get(name, 0)) for part in node.client.counters().values() if isinstance(part, dict))


def counts(node: Running, name: str, act: Callable[[], None], least: int = 1) -> None:
    """Whether an act is counted."""
    before = counted(node, name)
    act()
    until(lambda: counted(node, name) >= before + least, f"{name} is counted")
