"""``why``: the newest election of a capsule in plain words, from the nodes' own events.

Everything told was recorded by the node named in the line, by that node's clock.
"""

from __future__ import annotations

from pathlib import Path

from falak.cli.options import add_data, client_of
from falak.cli.output import clock, waiting, warn_missing
from falak.cli.parser import Parser
from falak.client.shapes import Story
from falak.client.words import began_at, told
from falak.errors import OperatorError


def why_arguments(parser: Parser) -> None:
    """What ``why`` takes."""
    parser.add_place("capsule", "The capsule's name.")
    parser.add_argument("--verbose", "-v", action="store_true", help="Show what each gravity is made of.")
    add_data(parser)


def why(capsule: str, verbose: bool, data: Path | None) -> None:
    """Tell a capsule's newest election: who was called, who won, and why.

    It is that of the newest request which had to wait; who declined with the reason, who acked whom, and what
    each step took.
    """
    client = client_of(data)
    with waiting("the other nodes' events"):
        story = client.why(capsule)
    if not story["events"] and all(row["name"] != capsule for row in client.capsules()):
        raise OperatorError(f"no capsule {capsule} orbits here", "falak capsules lists those that do")
    if not story["events"]:
        raise OperatorError(
            f"nothing to tell of {capsule}: no request had to wait for it lately",
            f"warm requests need no election; all that is known of it: falak events --capsule {capsule}",
        )
    for line in tell(story, verbose):
        print(line)
    warn_missing(story["missing"])


def tell(story: Story, verbose: bool) -> list[str]:
    """The whole text."""
    events = story["events"]
    began = began_at(events)
    head = f"{story['capsule']}: what its request of {clock(began)} set off (cause {story['cause']})"
    lines = [head, "", *told(events, verbose)]
    if any(event["at"] < began for event in events):
        lines += ["", "Times are each node's own clock's, and these clocks differ."]
    return lines
