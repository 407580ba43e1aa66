"""``demo``: the verb; the story itself is ``falak.demo``."""

from __future__ import annotations

from falak.cli.options import a_whole_number
from falak.cli.parser import Parser


def demo_arguments(parser: Parser) -> None:
    """What ``demo`` takes."""
    parser.add_argument(
        "--nodes", metavar="N", type=a_whole_number, default=5, help="How many nodes, 1 to 20; usual: 5."
    )
    parser.add_argument(
        "--keep", action="store_true", help="Leave the mesh running, and say what to type next."
    )


def demo(nodes: int, keep: bool) -> int:
    """Five nodes on this machine: publish, request, election, answer.

    Everything is real: processes, sockets, times. It ends with 0 and leaves nothing behind, or says which step
    did not happen.
    """
    from falak.demo.story import run  # noqa: PLC0415  processes and rich, for this verb alone

    return run(nodes, keep)
