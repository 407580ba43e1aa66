"""Who follows a node's events when either of them goes: the node's log stays clean, the follower ends calmly."""

import json
import os
import socket
import subprocess
import sys
from typing import Any

import pytest

from tests.nodes import ROOT, Mesh, Running

ASKED = b'{"v":1,"op":"events","follow":%s,"after":0,"capsule":"","local":true}\n'


def complaints(node: Running) -> list[dict[str, Any]]:
    """Lines of its log that are no news."""
    lines = [json.loads(line) for line in node.said().splitlines()]
    return [line for line in lines if line["level"] != "info"]


def test_a_node_that_ends_tells_its_followers(mesh: Mesh) -> None:
    node = mesh.up("n1")
    node.launch()
    command = [sys.executable, "-m", "falak", "events", "--follow", "--json", "--data", str(node.data)]
    follower = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        assert follower.stdout and json.loads(follower.stdout.readline())["event"]
        assert node.end() == 0
        _, told = follower.communicate(timeout=20)
    finally:
        follower.kill()
        follower.wait()
    assert (follower.returncode, told) == (0, f"the node in {node.data} has ended\n")
    assert not complaints(node)


@pytest.mark.parametrize("follow", [b"true", b"false"])
def test_a_reader_that_goes_leaves_no_trace(mesh: Mesh, follow: bytes) -> None:
    """As ``falak events | head -1``: it asks, takes a little, and is gone while the node writes to it."""
    node = mesh.up("n1")
    for _ in range(8):
        node.launch(call=False, env={"N": str(_)})
    for _ in range(10):
        with socket.socket(socket.AF_UNIX) as control:
            control.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            control.connect(str(node.data / "control.sock"))
            control.sendall(ASKED % follow)
            control.recv(1)
    assert node.client.node()["name"] == "n1"
    assert node.end() == 0
    assert not complaints(node)
