"""``leave`` and ``drain``: a node ends on purpose, or runs nothing while it stays."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from falak.cli.options import add_data, client_of
from falak.cli.output import waiting
from falak.cli.parser import Parser
from falak.errors import NO_NODE, OperatorError

GONE_S: Final = 60.0
"""A node is waited for this long: its copies' grace, and the goodbye."""
LOOK_S: Final = 0.05


def leave_arguments(parser: Parser) -> None:
    """What ``leave`` takes."""
    add_data(parser)


def leave(data: Path | None) -> None:
    """Have this node drain, say goodbye and end.

    Its copies get no new requests and finish those under way; others run what it ran. As SIGTERM does.
    """
    client = client_of(data)
    name = client.node()["name"]
    client.leave()
    ends_at = time.monotonic() + GONE_S
    with waiting(f"{name} to end"):
        while time.monotonic() < ends_at:
            try:
                client.node()
            except OperatorError as error:
                if error.exit == NO_NODE:
                    print(f"{name} left")
                    return
            time.sleep(LOOK_S)
    raise OperatorError(
        f"{name} drains, but has not ended within {GONE_S:g} s", "its log says what it waits for"
    )


def drain_arguments(parser: Parser) -> None:
    """What ``drain`` takes."""
    parser.add_place("node", "The node's name or id: any node of the mesh.")
    parser.add_argument("--undo", action="store_true", help="Have it take copies again.")
    add_data(parser)


def drain(node: str, undo: bool, data: Path | None) -> None:
    """Have a node run nothing, and wait until its copies are gone.

    Any node of the mesh may be named. It stays a member, votes, keeps records and passes requests on. Until
    --undo, or until it starts again.
    """
    with waiting(f"the copies of {node} to end"):
        done = client_of(data).drain(node, undo=undo)
    if undo:
        print(f"{done['node']} takes copies again")
    else:
        print(f"{done['node']} is drained: {done['copies']} copies ended")
