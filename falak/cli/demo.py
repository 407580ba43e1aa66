"""``demo``: the verb; the story itself is ``falak.demo``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter


def demo(
    *,
    nodes: Annotated[int, Parameter(show_default=True, help="How many nodes, 1 to 20.")] = 5,
    keep: Annotated[bool, Parameter(help="Leave the mesh running, and say what to type next.")] = False,
) -> int:
    """Five nodes on this machine: publish, request, election, answer.

    Everything is real: processes, sockets, times. It ends with 0 and leaves nothing behind, or says which step
    did not happen.
    """
    from falak.demo.story import run  # noqa: PLC0415  processes and rich, for this verb alone

    return run(nodes, keep)
