"""A foreign judge of the mesh: js-libp2p with the network key links, and reads what a node gossips.

What it must find is what the wire format promises to anybody: signed gossip on the cluster's topic, a msgpack
array ``[1, 5, [profile, sequence]]``, and in the profile the node's own name.
"""

import base64
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.asking import states
from tests.integration.conftest import mesh
from tests.nodes import Mesh, Running

__all__ = ["mesh"]

TOPIC = "/falak/1/heartbeat/main"
SCRIPT = Path(__file__).parent / "js" / "heartbeat.mjs"
END_S = 20.0

Lines = Iterator[dict[str, Any]]
Foreign = Callable[..., Any]


@pytest.fixture
def foreign(tool: Callable[[str], str], node_modules: Path, tmp_path: Path) -> Foreign:
    """``with foreign(node, key_hex) as lines``: what a js-libp2p node that dials ``node`` tells, by line."""
    folder = tmp_path / "js"
    folder.mkdir()
    shutil.copy(SCRIPT, folder)
    (folder / "node_modules").symlink_to(node_modules)

    @contextmanager
    def run(node: Running, key: str) -> Iterator[Lines]:
        command = [tool("node"), str(folder / SCRIPT.name), node.ready["addresses"][0], key, TOPIC]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
            assert process.stdin and process.stdout and process.stderr
            try:
                yield (json.loads(line) for line in process.stdout)
            finally:
                process.stdin.close()
                try:
                    process.wait(END_S)
                finally:
                    process.kill()
            assert process.returncode in (0, 1), process.stderr.read()

    return run


def network_key(node: Running) -> str:
    """The network key in hex, as a ``swarm.key`` of any libp2p has it."""
    stored = json.loads((node.data / "identity").read_text())
    return base64.b64decode(stored["network_key"]).hex()


def test_it_reads_the_heartbeats_of_all(mesh: Mesh, foreign: Foreign) -> None:
    nodes = mesh.grow(2)
    wanted = {node.ready["id"]: node.name for node in nodes}
    with foreign(nodes[0], network_key(nodes[0])) as lines:
        assert next(lines) == {"linked": nodes[0].ready["id"]}
        for line in lines:
            heard = line["heard"]
            assert (heard["topic"], heard["type"]) == (TOPIC, "signed") and heard["size"] <= 1024
            version, kind, (profile, sequence) = heard["value"]
            assert (version, kind) == (1, 5) and sequence >= 1
            identity, incarnation, addresses, orbits, *_ = profile
            assert identity[0] == heard["from"] and incarnation >= 1 and orbits == ["default"]
            assert all(address.endswith(f"/p2p/{heard['from']}") for address in addresses)
            assert wanted.pop(heard["from"], identity[1]) == identity[1]
            if not wanted:
                break
    assert not wanted, f"nothing was heard of {wanted}"
    for node in nodes:  # it never said hello: nobody took it for a member
        assert states(node) == {"n1": "alive", "n2": "alive"}


def test_without_the_network_key_it_hears_nothing(mesh: Mesh, foreign: Foreign) -> None:
    node = mesh.up("n1")
    with foreign(node, bytes(32).hex()) as lines:
        (told,) = lines
    assert list(told) == ["failed"]
    assert node.client.counters()["mesh"]["refused_connections"] >= 1
