"""Flags that several verbs share, and the node they speak with. Owns their names, so that they are the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from falak.client import Client
from falak.whereabouts import data_folder

Data = Annotated[Path | None, Parameter(name="--data", help="The node's data folder [FALAK_DATA].")]
Output = Annotated[
    Literal["table", "json"],
    Parameter(name=["--output", "-o"], show_default=True, help="A table, or JSON for scripts."),
]
Json = Annotated[bool, Parameter(name="--json", help="Short for -o json.")]
Follow = Annotated[bool, Parameter(name=["--follow", "-f"], help="Go on with what comes, until interrupted.")]


def client_of(data: Path | None) -> Client:
    """The client of the node that ``--data`` or the environment names."""
    return Client(data_folder(data, os.environ))
