"""``events`` and ``logs``: what happened, and what copies wrote; both can be followed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Annotated, Any

from cyclopts import Parameter

from falak.cli.options import Data, Follow, Json, Output, client_of
from falak.cli.output import clock, print_json_line, waiting, warn_missing
from falak.client.words import fields_text


def events(
    *,
    follow: Follow = False,
    capsule: Annotated[str, Parameter(help="Only of this capsule.")] = "",
    after: Annotated[int, Parameter(help="Only those with a higher number (field n).")] = 0,
    local: Annotated[bool, Parameter(help="Only this node's.")] = False,
    output: Output = "table",
    json: Json = False,
    data: Data = None,
) -> None:
    """Show what happened in the mesh.

    Joins and drops, records, elections, starts and ends. As JSON a line is an event.
    docs/reference/events.md has all of them.
    """
    as_json = json or output == "json"
    with client_of(data).events(after=after, follow=follow, capsule=capsule, local=local) as stream:
        with nullcontext() if follow else waiting("the other nodes' events"):
            for event in stream:
                print_json_line(event) if as_json else print(event_line(event), flush=follow)
        warn_missing(stream.result["missing"])


def event_line(event: Mapping[str, Any]) -> str:
    """One event for people: time, node, what, and its fields."""
    cause = f"[{event['cause'][:8]}]" if event.get("cause") else ""
    told = " ".join(word for word in (event.get("capsule", ""), fields_text(event), cause) if word)
    return f"{clock(event['at'])}  {event['node']:<8} {event['event']:<20} {told}".rstrip()


def logs(
    capsule: Annotated[str, Parameter(help="The capsule's name.")],
    /,
    *,
    follow: Follow = False,
    after: Annotated[int, Parameter(help="Only lines with a higher number (field n).")] = 0,
    output: Output = "table",
    json: Json = False,
    data: Data = None,
) -> None:
    """Show what a capsule's copies wrote, on all nodes.

    As JSON a line is a line.
    """
    as_json = json or output == "json"
    with client_of(data).logs(capsule, after=after, follow=follow) as stream:
        for line in stream:
            if as_json:
                print_json_line(line)
            else:
                mark = "!" if line["stream"] == "stderr" else "|"
                print(f"{clock(line['at'])}  {line['node']:<8} {mark} {line['text']}", flush=follow)
        warn_missing(stream.result["missing"])
