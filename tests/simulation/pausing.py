"""A world whose nodes pause all the time and whose network loses messages: nobody in it dies.

    python -m tests.simulation.pausing 100 3600        nodes and simulated seconds; about a tenth of that in real ones

prints suspicions and drops; every drop is a false one. ``test_membership`` plays a shorter one.
"""

import sys
import time
from dataclasses import dataclass, replace

from falak.core.effects import Note
from falak.sim.host import Host
from falak.sim.network import Weather
from falak.sim.world import World

PAUSED_SHARE = 0.05
PAUSE_MAX_S = 2.0
LOSS = 0.02


class Crowd(World):
    """A world too large to check its sizes after every step."""

    def check(self, host: Host) -> None:
        pass


@dataclass
class Told:
    """What was said about members: by whom, of whom."""

    suspected: list[Note]
    dropped: list[tuple[float, str, Note]]
    refuted: int


def pausing(nodes: int, seconds: float, seed: int) -> Told:
    """Play it: one node in twenty stands still at any time, for up to ``PAUSE_MAX_S``."""
    world = Crowd(seed, Weather())
    hosts = world.mesh(nodes)
    world.network.weather = replace(world.network.weather, loss=LOSS)
    told = Told([], [], 0)
    until = world.now + seconds
    while world.now < until:
        for host in world.rng.sample(hosts, max(1, round(nodes * PAUSED_SHARE))):
            length_s = world.rng.uniform(0.0, PAUSE_MAX_S)
            host.pause()
            world.after(length_s, host.resume)
        world.run(PAUSE_MAX_S)
        told.suspected += [note for _, _, note in world.notes if note.event == "node.suspect"]
        told.dropped += [(at, who, note) for at, who, note in world.notes if note.event == "node.drop"]
        told.refuted += sum(1 for _, _, note in world.notes if note.event == "node.refute")
        world.notes.clear()
    return told


if __name__ == "__main__":
    began = time.monotonic()
    found = pausing(int(sys.argv[1]), float(sys.argv[2]), seed=1)
    for at, who, note in found.dropped:
        print(f"t={at:.3f} {who} dropped {dict(note.fields)}")
    print(
        f"{sys.argv[1]} nodes, {sys.argv[2]} s: {len(found.suspected)} suspicions, {found.refuted} refutations, "
        f"{len(found.dropped)} false drops, in {time.monotonic() - began:.0f} s"
    )
