"""What a node says on a terminal once it serves, and when it has ended. Owns the words; loaded for a terminal only."""

from __future__ import annotations

import shlex
from pathlib import Path


def hello(name: str, others: int, http: str, data: Path, usual: Path) -> str:
    """The first lines. ``others`` are the members it met, itself not counted; ``usual`` is the data folder that
    commands look into by themselves."""
    many = f"a mesh of {others + 1} nodes" if others else "a mesh of its own, nobody else is here yet"
    where = "" if data == usual else f" --data {shlex.quote(str(data))}"
    return "\n".join(
        (
            f"{name} serves, in {many}.",
            f"  requests:   curl -H 'Host: NAME.localhost' http://{http}/",
            f"  others:     falak up --join TICKET    (the ticket: falak ticket{where})",
            f"  look round: falak nodes{where}",
            "Ctrl-C says goodbye and ends it.",
        )
    )


def trying(contacts: tuple[str, ...], most_s: float) -> str:
    """Nobody has answered yet."""
    where = ", ".join(contact.partition("/p2p/")[0] for contact in contacts)
    return f"no node answers yet at {where}; trying for {most_s:g} s …"


def goodbye(name: str) -> str:
    """The last line."""
    return f"{name} said goodbye and has ended."
