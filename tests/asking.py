"""What tests ask of running nodes, in few words: launch, copies, events, a command, an HTTP request.

Owns no process (``tests/nodes.py`` does) and asserts nothing but that an answer came.
"""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests import http1
from tests.nodes import HELLO, ROOT, Running, until

PROBE = ROOT / "tests" / "guests" / "probe.wasm"
COMMAND_S = 30.0


def launch(node: Running, name: str, *, call: bool = False, component: Path = HELLO, **fields: Any) -> Any:
    """Publish a component with fields of its manifest; what ``falak launch`` ends with. Cold unless called."""
    with node.client.launch(component, {"name": name, **fields}, call=call) as stages:
        return stages.result


def get(node: Running, capsule: str, path: str = "/", within_s: float = 15.0) -> http1.Answer:
    """``GET path`` for ``CAPSULE.localhost`` at the node's gateway."""
    return http1.get(node.ready["http"], f"{capsule}.localhost", path, within_s)


def copies(node: Running, capsule: str) -> list[Any]:
    """Running copies of a capsule in the whole mesh, none missing."""
    listing = node.client.ps(wait_s=5.0)
    assert not listing["partial"], listing["missing"]
    return [row for row in listing["rows"] if row["capsule"] == capsule]


def events_of(node: Running, capsule: str, *names: str) -> list[Any]:
    """Events of a capsule from the whole mesh, by time."""
    found = sorted(node.client.events(capsule=capsule), key=lambda event: event["at"])
    return [event for event in found if not names or event["event"] in names]


def states(node: Running) -> dict[str, str]:
    """The state of every member by name, as the node sees it."""
    return {row["name"]: row["state"] for row in node.client.nodes()}


def at_all(nodes: list[Running], holds: Callable[[Running], Any], what: str) -> None:
    """Wait until something holds at each of the nodes."""
    for node in nodes:
        until(partial(holds, node), f"{node.name}: {what}")


def known(nodes: list[Running], capsule: str, generation: int = 1) -> None:
    """Wait until every node has the capsule's record of a generation, and can start a copy at once."""

    wanted = (capsule, generation, "prepared")

    def knows(node: Running) -> bool:
        return wanted in [(row["name"], row["generation"], row["artifact"]) for row in node.client.capsules()]

    at_all(nodes, knows, f"knows {capsule} {generation}")


def falak(node: Running, *words: str) -> str:
    """Standard output of a command that must end well."""
    run = subprocess.run(
        [sys.executable, "-m", "falak", *words, "--data", str(node.data)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert run.returncode == 0, f"falak {' '.join(words)} ended with {run.returncode}:\n{run.stderr}"
    return run.stdout
