"""The typed client of a node's control API, for commands, the demo, tests and people.

    from falak.client import Client

    for row in Client(Path("/var/lib/falak")).nodes():
        print(row["name"], row["state"])

It imports nothing of a node: a socket, JSON, and the shapes of what comes over it.
"""

from falak.client.api import Client
from falak.client.connection import NoNode, Stream

__all__ = ["Client", "NoNode", "Stream"]
