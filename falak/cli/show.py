"""``ps``, ``nodes``, ``orbits``, ``capsules``: what there is, as a table or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from falak.cli.options import add_data, add_output, client_of, seconds
from falak.cli.output import duration, print_json, print_table, waiting, warn_missing
from falak.cli.parser import Parser
from falak.client.api import GATHER_S

if TYPE_CHECKING:
    from falak.client.shapes import CapacityRow

MIB = 1024 * 1024


def nodes_arguments(parser: Parser) -> None:
    """What a listing takes."""
    add_output(parser)
    add_data(parser)


orbits_arguments = capsules_arguments = nodes_arguments


def ps_arguments(parser: Parser) -> None:
    """What ``ps`` takes."""
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=seconds,
        default=GATHER_S,
        help=f"What other nodes have to answer; usual: {GATHER_S:g}.",
    )
    nodes_arguments(parser)


def ps(wait: float, output: str, data: Path | None) -> None:
    """List running copies in the whole mesh.

    They are from every node that answers in time; who did not is told on stderr.
    """
    with waiting("the other nodes' answers"):
        copies = client_of(data).ps(wait)
    if output == "json":
        print_json(copies["rows"])
    else:
        headings = "CAPSULE VERSION NODE SLOT STATE SINCE REQUESTS ERRORS P50-MS P99-MS".split()
        rows = [
            [
                row["capsule"],
                row["version"],
                row["node"],
                row["slot"],
                row["state"],
                duration(row["since_s"]),
                row["requests"],
                row["errors"],
                row["p50_ms"],
                row["p99_ms"],
            ]
            for row in copies["rows"]
        ]
        print_table(headings, rows, "nothing runs: capsules start when they are asked for")
    warn_missing(copies["missing"])


def nodes(output: str, data: Path | None) -> None:
    """List the nodes of the mesh, as this one sees them."""
    found = client_of(data).nodes()
    if output == "json":
        print_json(found)
        return
    headings = "NAME STATE ORBITS ZONE TAGS COPIES CORES-FREE MIB-FREE RTT-MS ADDRESS".split()
    rows = [
        [
            row["name"] + (" *" if row["self"] else ""),
            row["state"],
            row["orbits"],
            row["zone"],
            row["tags"],
            row["claims"],
            *_free(row["capacity"]),
            row["rtt_ms"] or 0.0,
            (row["addresses"] or [""])[0],
        ]
        for row in found
    ]
    print_table(headings, rows, "no nodes")


def _free(capacity: CapacityRow) -> tuple[float, int]:
    return capacity.get("free_cpu_millis", 0) / 1000, capacity.get("free_memory_bytes", 0) // MIB


def orbits(output: str, data: Path | None) -> None:
    """List orbits, who watches them, and what is in them."""
    found = client_of(data).orbits()
    if output == "json":
        print_json(found)
        return
    rows = [[row["orbit"], row["watched"], row["watchers"], row["capsules"]] for row in found]
    print_table("ORBIT WATCHED WATCHERS CAPSULES".split(), rows, "no orbits")


def capsules(output: str, data: Path | None) -> None:
    """List capsules that orbit, running or not."""
    found = client_of(data).capsules()
    if output == "json":
        print_json(found)
        return
    headings = "NAME VERSION GENERATION ORBIT KIND RUNTIME KIB KEEPERS HERE HOSTS".split()
    rows = [
        [
            row["name"],
            row["version"],
            row["generation"],
            row["orbit"],
            row["kind"],
            row["runtime"],
            row["size_bytes"] / 1024,
            row["keepers"],
            row["artifact"],
            row["hosts"],
        ]
        for row in found
    ]
    print_table(headings, rows, "no capsules: falak launch publishes one")
