"""``ps``, ``nodes``, ``orbits``, ``capsules``: what there is, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from falak.cli.options import add_data, add_output, client_of, seconds
from falak.cli.output import AtMost, duration, print_json, print_table, waiting, warn_missing
from falak.cli.parser import Parser
from falak.client.api import GATHER_S

if TYPE_CHECKING:
    from falak.client.shapes import NodeRow

MIB: Final = 1024 * 1024


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
                AtMost(row["p50_ms"]),
                AtMost(row["p99_ms"]),
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
    columns = {heading: [read(row) for row in found] for heading, read in NODE_COLUMNS.items()}
    shown = [name for name, cells in columns.items() if name not in SPARED or set(cells) - SPARED[name]]
    print_table(shown, list(zip(*(columns[name] for name in shown), strict=True)), "no nodes")


def _of_the_present(read: Callable[[NodeRow], object]) -> Callable[[NodeRow], object]:
    """Numbers of a node that is gone are old: they are left out."""
    return lambda row: read(row) if row["state"] in ("alive", "suspect") else None


def _remarks(row: NodeRow) -> str:
    told = [row["evidence"]] if row["evidence"] else []
    told += ["draining"] if row.get("draining") else []
    told += [] if row.get("stores", True) else ["its disk takes nothing"]
    return ", ".join(told)


def _port_of(addresses: Sequence[str]) -> str:
    """``IP:PORT`` of the first multiaddr: the whole of it is for programs."""
    if not addresses:
        return ""
    _, family, host, _, port, *_ = addresses[0].split("/")
    return f"[{host}]:{port}" if family == "ip6" else f"{host}:{port}"


NODE_COLUMNS: Final[Mapping[str, Callable[[NodeRow], object]]] = {
    "NAME": lambda row: row["name"] + (" *" if row["self"] else ""),
    "STATE": lambda row: row["state"],
    "ORBITS": lambda row: " ".join(row["orbits"]),
    "ZONE": lambda row: row["zone"],
    "TAGS": lambda row: " ".join(row["tags"]),
    "COPIES": _of_the_present(lambda row: row["claims"]),
    "CORES": _of_the_present(lambda row: row["capacity"].get("free_cpu_millis", 0) / 1000),
    "MIB": _of_the_present(lambda row: row["capacity"].get("free_memory_bytes", 0) // MIB),
    "RTT-MS": _of_the_present(lambda row: None if row["self"] else row["rtt_ms"]),
    "HTTP": lambda row: row["http"],
    "MESH": lambda row: _port_of(row["addresses"]),
    "REMARKS": _remarks,
}
SPARED: Final[Mapping[str, set[object]]] = {
    "ORBITS": {"default"},
    "ZONE": {""},
    "TAGS": {""},
    "REMARKS": {""},
}
"""Columns that are left out where no node has more than this to show: rows are to fit on a terminal."""


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
