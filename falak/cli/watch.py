"""``events`` and ``logs``: what happened, and what copies wrote; both can be followed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from falak.cli.options import a_whole_number, add_data, add_follow, add_output, client_of
from falak.cli.output import clock, print_json_line, waiting, warn_missing
from falak.cli.parser import Parser
from falak.client.words import fields_text

if TYPE_CHECKING:
    from falak.client import Client
    from falak.client.shapes import Gathered


def events_arguments(parser: Parser) -> None:
    """What ``events`` takes."""
    add_follow(parser)
    parser.add_argument("--capsule", metavar="NAME", default="", help="Only of this capsule.")
    _add_after(parser)
    parser.add_argument("--local", action="store_true", help="Only this node's.")
    add_output(parser)
    add_data(parser)


def _add_after(parser: Parser) -> None:
    parser.add_argument(
        "--after", metavar="N", type=a_whole_number, default=0, help="Only with a higher number (field n)."
    )


def events(follow: bool, capsule: str, after: int, local: bool, output: str, data: Path | None) -> None:
    """Show what happened in the mesh.

    Joins and drops, records, elections, starts and ends. As JSON a line is an event.
    docs/reference/events.md has all of them.
    """
    as_json, client = output == "json", client_of(data)
    if capsule:
        _is_known(client, capsule)
    with client.events(after=after, follow=follow, capsule=capsule, local=local) as stream:
        with nullcontext() if follow else waiting("the other nodes' events"):
            for event in stream:
                print_json_line(event) if as_json else print(event_line(event), flush=follow)
        _tell_end(client, stream.result)


def _is_known(client: Client, capsule: str) -> bool:
    """Whether the capsule orbits; where it does not, somebody may have misspelt it, and is told."""
    known = any(row["name"] == capsule for row in client.capsules())
    if not known:
        print(f"no capsule {capsule} orbits here (falak capsules lists those that do)", file=sys.stderr)
    return known


def _tell_end(client: Client, gathered: Gathered) -> None:
    warn_missing(gathered["missing"])
    if gathered.get("ended"):
        print(f"the node in {client.data} has ended", file=sys.stderr)


def event_line(event: Mapping[str, Any]) -> str:
    """One event for people: time, node, what, and its fields."""
    cause = f"[{event['cause'][:8]}]" if event.get("cause") else ""
    told = " ".join(word for word in (event.get("capsule", ""), fields_text(event), cause) if word)
    return f"{clock(event['at'])}  {event['node']:<8} {event['event']:<20} {told}".rstrip()


def logs_arguments(parser: Parser) -> None:
    """What ``logs`` takes."""
    parser.add_place("capsule", "The capsule's name.")
    add_follow(parser)
    _add_after(parser)
    add_output(parser)
    add_data(parser)


def logs(capsule: str, follow: bool, after: int, output: str, data: Path | None) -> None:
    """Show what a capsule's copies wrote, on all nodes.

    As JSON a line is a line.
    """
    as_json, client = output == "json", client_of(data)
    silent = _is_known(client, capsule)
    with client.logs(capsule, after=after, follow=follow) as stream:
        for line in stream:
            silent = False
            if as_json:
                print_json_line(line)
            else:
                mark = "!" if line["stream"] == "stderr" else "|"
                print(f"{clock(line['at'])}  {line['node']:<8} {mark} {line['text']}", flush=follow)
        _tell_end(client, stream.result)
    if silent:
        print(f"the copies of {capsule} wrote nothing", file=sys.stderr)
