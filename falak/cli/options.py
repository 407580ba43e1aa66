"""Flags that several verbs share, how values are read, and the node they speak with.

Owns the flags' names, so that they are the same everywhere. The client is loaded by who speaks with a node.
"""

from __future__ import annotations

import math
import os
from argparse import ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING

from falak.cli.parser import Parser
from falak.whereabouts import data_folder

if TYPE_CHECKING:
    from falak.client import Client


def add_data(parser: Parser) -> None:
    """``--data``: which node."""
    parser.add_argument("--data", metavar="DIR", type=Path, help="The node's data folder [FALAK_DATA].")


def add_output(parser: Parser) -> None:
    """``--output``, ``-o``, ``--json``: ``output`` is ``table`` or ``json``."""
    parser.add_argument(
        "--output",
        "-o",
        metavar="FORM",
        type=a_form,
        default="table",
        help="table, or json for scripts; usual: table.",
    )
    parser.add_argument("--json", dest="output", action="store_const", const="json", help="Short for -o json.")


def add_follow(parser: Parser) -> None:
    """``--follow``, ``-f``."""
    parser.add_argument("--follow", "-f", action="store_true", help="Go on with what comes, until interrupted.")


def a_form(text: str) -> str:
    """How results are printed."""
    if text not in ("table", "json"):
        raise ArgumentTypeError(f'"{text}" is not one of: table, json')
    return text


def a_whole_number(text: str) -> int:
    """Also below zero: who uses it knows the limits."""
    try:
        return int(text)
    except ValueError:
        raise ArgumentTypeError(f'"{text}" is no whole number') from None


def seconds(text: str) -> float:
    """A time to wait: finite, 0 or more."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ArgumentTypeError(f'"{text}" is no number of seconds')
    return number


def client_of(data: Path | None) -> Client:
    """The client of the node that ``--data`` or the environment names."""
    from falak.client import Client  # noqa: PLC0415  `up` and help speak with no node

    return Client(data_folder(data, os.environ))


def reachable(http: str) -> str:
    """Where this machine reaches an address that a gateway listens on: an unspecified one is all of them."""
    host, _, port = http.rpartition(":")
    return f"{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]'}.get(host, host) }:{port}"
