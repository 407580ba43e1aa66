"""``version``: this command's and its node's."""

from __future__ import annotations

import sys
from pathlib import Path

from falak import __version__
from falak.cli.options import add_data, client_of, reachable
from falak.cli.parser import Parser
from falak.client import NoNode


def version_arguments(parser: Parser) -> None:
    """What ``version`` takes."""
    add_data(parser)


def version(data: Path | None) -> None:
    """Print the versions of this command and of the node it speaks with."""
    print(f"falak {__version__}")
    client = client_of(data)
    try:
        node = client.node()
    except NoNode:
        print(f"no node is reachable in {client.data}", file=sys.stderr)
        return
    print(
        f"node {node['name']} {node['version']}, wasmtime {node['wasmtime']}, http://{reachable(node['http'])}/"
    )
