"""``version``: this command's and its node's."""

from __future__ import annotations

import sys

from falak import __version__
from falak.cli.options import Data, client_of
from falak.client import NoNode


def version(*, data: Data = None) -> None:
    """Print the versions of this command and of the node it speaks with."""
    print(f"falak {__version__}")
    client = client_of(data)
    try:
        node = client.node()
    except NoNode:
        print(f"no node is reachable in {client.data}", file=sys.stderr)
        return
    print(f"node {node['name']} {node['version']}, wasmtime {node['wasmtime']}")
