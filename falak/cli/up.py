"""``up`` and ``ticket``: a node here, and what lets others join it. Only ``up`` loads the daemon."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

from falak.cli.options import add_data, client_of
from falak.cli.parser import Parser


def up_arguments(parser: Parser) -> None:
    """What ``up`` takes. Values are read with those of the environment and the files, by ``falak.config``."""
    flag = parser.add_argument
    flag("--name", help="The node's name [FALAK_NAME]; else the machine's.")
    add_data(parser)
    flag(
        "--listen",
        metavar="MULTIADDR",
        help="Where the mesh reaches it: /ip4/ADDRESS/tcp/PORT [FALAK_LISTEN]; else any, port 7420.",
    )
    flag(
        "--http",
        metavar="IP:PORT",
        help="Where requests come in: IP:PORT [FALAK_HTTP]; else 127.0.0.1:8420.",
    )
    flag("--orbit", action="append", help="An orbit it watches; repeatable [FALAK_ORBIT]; else default.")
    flag("--zone", help="What fails together with it: a rack, a site [FALAK_ZONE].")
    flag("--tag", action="append", help="What capsules may prefer or require; repeatable [FALAK_TAG].")
    flag(
        "--join",
        metavar="TICKET",
        action="append",
        help="A ticket of a node in the mesh; repeatable [FALAK_JOIN].",
    )
    flag(
        "--ready-file",
        metavar="PATH",
        type=Path,
        help="Written once the node serves: JSON {id, name, addresses, http, ticket}.",
    )


def up(**flags: Any) -> int:
    """Start a node here, alone or joined to a mesh.

    It stays until SIGTERM or Ctrl-C, and says goodbye then.

    Flags win over the environment (in brackets), that over falak.toml in the data folder, that over
    /etc/falak/falak.toml. Port 0 takes a free one.
    """
    gc.disable()  # what a start makes stays: looking for garbage in it is 5 % of a start
    try:
        from falak.config import up_options  # noqa: PLC0415  only up needs it

        options = up_options(flags, os.environ)
        from falak.daemon.wiring import run  # noqa: PLC0415  the daemon, its loop, the extension

        return run(options)
    finally:
        gc.enable()  # the node itself enables it once it stands


def ticket_arguments(parser: Parser) -> None:
    """What ``ticket`` takes."""
    add_data(parser)


def ticket(data: Path | None) -> None:
    """Print what lets another node join this one's mesh.

    On another machine: falak up --join TICKET. Whoever has it can join: treat it like a password.
    """
    print(client_of(data).node()["ticket"])
