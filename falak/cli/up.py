"""``up`` and ``ticket``: a node here, and what lets others join it. Only ``up`` loads the daemon."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from falak.cli.options import Data, client_of


def up(
    *,
    name: Annotated[str | None, Parameter(help="The node's name [FALAK_NAME]; else the machine's.")] = None,
    data: Data = None,
    listen: Annotated[
        str | None,
        Parameter(help="Where the mesh reaches it: /ip4/ADDRESS/tcp/PORT [FALAK_LISTEN]; else any, port 7420."),
    ] = None,
    http: Annotated[
        str | None, Parameter(help="Where requests come in: IP:PORT [FALAK_HTTP]; else 127.0.0.1:8420.")
    ] = None,
    orbit: Annotated[
        tuple[str, ...],
        Parameter(help="An orbit it watches; repeatable [FALAK_ORBIT]; else default."),
    ] = (),
    zone: Annotated[
        str | None, Parameter(help="What fails together with it: a rack, a site [FALAK_ZONE].")
    ] = None,
    tag: Annotated[
        tuple[str, ...],
        Parameter(help="What capsules may prefer or require; repeatable [FALAK_TAG]."),
    ] = (),
    join: Annotated[
        tuple[str, ...],
        Parameter(help="A ticket of a node in the mesh; repeatable [FALAK_JOIN]."),
    ] = (),
    ready_file: Annotated[
        Path | None, Parameter(help="Written once the node serves: JSON {id, name, addresses, http, ticket}.")
    ] = None,
) -> int:
    """Start a node here, alone or joined to a mesh.

    It stays until SIGTERM or Ctrl-C, and says goodbye then.

    Flags win over the environment (in brackets), that over falak.toml in the data folder, that over
    /etc/falak/falak.toml. Port 0 takes a free one.
    """
    flags = {
        "name": name,
        "data": data,
        "listen": listen,
        "http": http,
        "orbit": orbit,
        "zone": zone,
        "tag": tag,
        "join": join,
        "ready_file": ready_file,
    }
    from falak.config import up_options  # noqa: PLC0415  only up: the daemon, its loop, the extension
    from falak.daemon.wiring import run  # noqa: PLC0415

    return run(up_options(flags, os.environ))


def ticket(*, data: Data = None) -> None:
    """Print what lets another node join this one's mesh.

    On another machine: falak up --join TICKET. Whoever has it can join: treat it like a password.
    """
    print(client_of(data).node()["ticket"])
