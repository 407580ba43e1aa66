"""``why``: the newest election of a capsule in plain words, from the nodes' own events.

Everything told was recorded by the node named in the line, by that node's clock.
"""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from falak.cli.options import Data, client_of
from falak.cli.output import clock, waiting, warn_missing
from falak.client.shapes import Story
from falak.client.words import began_at, told
from falak.errors import OperatorError


def why(
    capsule: Annotated[str, Parameter(help="The capsule's name.")],
    /,
    *,
    verbose: Annotated[
        bool, Parameter(name=["--verbose", "-v"], help="Show what each gravity is made of.")
    ] = False,
    data: Data = None,
) -> None:
    """Tell a capsule's newest election: who was called, who won, and why.

    It is that of the newest request which had to wait; who declined with the reason, who acked whom, and what
    each step took.
    """
    with waiting("the other nodes' events"):
        story = client_of(data).why(capsule)
    if not story["events"]:
        raise OperatorError(
            f"nothing to tell of {capsule}: no request had to wait for it lately",
            "warm requests need no election; `falak capsules` lists what orbits",
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
