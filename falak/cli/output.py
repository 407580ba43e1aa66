"""How results are printed: JSON, tables, times; and the word about a wait that takes long.

Owns the looks and no content. rich is loaded only to print a table. Colour is for terminals, and not where
``NO_COLOR`` is set; nothing is ever cut off where a program reads.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec

QUIET_S: Final = 1.0
"""A wait longer than this is told on a terminal."""
WIDE: Final = 100_000
"""Columns where nobody looks: wide enough for every table."""
STATE_STYLES: Final = {
    "alive": "green",
    "active": "green",
    "suspect": "yellow",
    "start": "yellow",
    "dropped": "red",
    "failure": "red",
    "left": "dim",
}


class AtMost(float):
    """An upper bound of what was measured; 0 for nothing."""


def print_json(value: Any) -> None:
    """One document, indented on a terminal, one line elsewhere."""
    text = msgspec.json.encode(value)
    if sys.stdout.isatty():
        text = msgspec.json.format(text, indent=2)
    print(text.decode())


def print_json_line(value: Any) -> None:
    """One of many: a line, at once."""
    print(msgspec.json.encode(value).decode(), flush=True)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]], nothing: str) -> None:
    """Rows under headings; numbers to the right, None is not known. Without rows: ``nothing``, on stderr."""
    if not rows:
        print(nothing, file=sys.stderr)
        return
    from rich.console import Console  # noqa: PLC0415  33 ms that only a table is worth
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for at, heading in enumerate(headings):
        numbers = all(row[at] is None or type(row[at]) in (int, float, AtMost) for row in rows)
        table.add_column(heading, justify="right" if numbers else "left", no_wrap=True)
    for row in rows:
        cells = (_cell(value) for value in row)
        table.add_row(*(Text(cell, style=STATE_STYLES.get(cell, "")) for cell in cells))
    if sys.stdout.isatty():
        screen = Console()
        if screen.measure(table, options=screen.options.update(width=WIDE)).maximum > screen.width:
            table.padding = (0, 1, 0, 0)
        Console(width=WIDE).print(table)  # a row that is too wide goes on below, none is taken apart
        return
    plain = Console(width=WIDE)
    with plain.capture() as captured:
        plain.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, AtMost):
        return f"≤{value:g}" if value else "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, list | tuple):
        return " ".join(str(item) for item in value) or "-"
    return str(value) if value != "" else "-"


def clock(at_s: float) -> str:
    """A time of day to the millisecond, in this machine's zone."""
    whole = time.strftime("%H:%M:%S", time.localtime(at_s))
    return f"{whole}.{int(at_s * 1000) % 1000:03}"


def duration(seconds: float) -> str:
    """A length of time in its two largest units: ``850 ms``, ``12 s``, ``3 min 4 s``, ``2 d 1 h``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    whole, parts = int(seconds), list[str]()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if whole >= size and len(parts) < 2:
            parts.append(f"{whole // size} {unit}")
            whole %= size
        elif parts:
            break
    return " ".join(parts)


def warn_missing(missing: Sequence[str]) -> None:
    """Say who did not answer: what is shown is not all there is."""
    if missing:
        print(f"partial: no answer from {', '.join(missing)}", file=sys.stderr)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say what is waited for when it takes longer than ``QUIET_S`` and somebody watches."""
    if not sys.stderr.isatty():
        yield
        return
    timer = threading.Timer(QUIET_S, lambda: os.write(2, f"waiting for {what} …\n".encode()))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
