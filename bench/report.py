"""Rows as a table for a terminal, as Markdown for the documentation, and as JSON. Pure: text in, text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from bench.causes import UNKNOWN
from bench.figures import Row, Spread
from bench.machine import Machine

LESSONS: Final = "## Lessons"
"""Everything from this heading on is written by hand and kept."""
DISTURBED: Final = 0.02
"""A machine that did this much else is worth a word: times are longer on it, CPU time less so."""
HEADINGS: Final = ("claim", "Falak", "beside it", "ratio", "target", "")


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """What a run found: the JSON that ``--json`` writes and ``--from`` reads."""

    machine: Machine
    rows: list[Row]


def number(value: float) -> str:
    """Three digits that count, never an exponent."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else 3
    return f"{value:.{digits}f}"


def spread(figure: Spread | None, unit: str) -> str:
    """``1.20 ms (1.10 .. 1.40)``."""
    if figure is None:
        return "-"
    return f"{number(figure.middle)}{unit and ' ' + unit} ({number(figure.low)} .. {number(figure.high)})"


def target(row: Row) -> str:
    """``≤ 0.4 x`` of the peer, or ``≤ 5.00 ms``."""
    if row.target.at_most is None:
        return "-"
    return f"≤ {row.target.at_most:g} {'x' if row.target.of == 'ratio' else row.target.unit}"


def verdict(row: Row) -> str:
    return {True: "met", False: "missed", None: ""}[row.met]


def cells(row: Row) -> tuple[str, ...]:
    beside = f"{spread(row.beside, row.target.unit)}: {row.peer}" if row.peer else "-"
    falak = spread(row.falak, row.target.unit)
    return row.target.what, falak, beside, spread(row.ratio, ""), target(row), verdict(row)


def told(row: Row) -> str:
    """What a reader should know of a row besides its figures."""
    disturbed = f"other work took {row.others:.0%} of the machine" if row.others >= DISTURBED else ""
    return "; ".join(part for part in (f"{row.rounds} rounds", row.note, disturbed) if part)


def misses(rows: Sequence[Row], causes: Mapping[str, str]) -> list[str]:
    """A line for each target missed, with its cause."""
    return [f"{row.target.what}: {causes.get(row.target.key, UNKNOWN)}" for row in rows if row.met is False]


def terminal(rows: Sequence[Row], causes: Mapping[str, str], unmeasured: Sequence[str] = ()) -> str:
    """The table, what is worth knowing of each row, the list of misses, and the claims that failed to run."""
    table = [HEADINGS, *map(cells, rows)]
    widths = [max(len(line[at]) for line in table) for at in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in table]
    lines = [line.rstrip() for line in lines]
    notes = [f"  {row.target.key}: {told(row)}" for row in rows]
    missed = misses(rows, causes)
    last = ["Targets missed:", *(f"  {miss}" for miss in missed)] if missed else []
    if unmeasured:
        last.append(f"Not measured, see above: {', '.join(unmeasured)}")
    return "\n".join([*lines, "", *notes, "", *(last or ["Every target is met."]), ""])


def markdown(results: Results, causes: Mapping[str, str]) -> str:
    """``docs/performance.md`` up to its lessons."""
    machine, rows = results.machine, results.rows
    lines = [
        "# How fast Falak is, and how that is known",
        "",
        "Written by `python -m bench --write`; only the causes and the lessons are by hand. Each figure is",
        "the median of its rounds, with the smallest and largest round in brackets. A ratio is made in every",
        "round, of two that were measured next to each other in it. Measure it yourself: `make bench`.",
        "",
        f"{machine.date}, commit {machine.commit}, Falak {machine.falak}, Python {machine.python}. "
        f"{machine.system}; {machine.processor},",
        f"{machine.cores} cores, {machine.memory_gib} GiB. Client, load and all nodes share the cores.",
        "",
        "| claim | Falak | beside it | ratio | target | |",
        "|---|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(cells(row))} |" for row in rows]
    lines += ["", "## Targets missed", ""]
    lines += [f"- {miss}" for miss in misses(rows, causes)] or ["None."]
    lines += ["", "## What belongs to the rows", ""]
    lines += [f"- {row.target.what}: {told(row)}" for row in rows]
    return "\n".join([*lines, ""])


def rewritten(before: str, made: str) -> str:
    """The document anew, with the lessons that stood in the old one (a heading alone where none did)."""
    at = before.find(LESSONS)
    return made + "\n" + (before[at:] if at >= 0 else LESSONS + "\n")
