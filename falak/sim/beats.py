"""Beats between simulated machines, as far as they matter: who hears that somebody fell silent, and when. Owns no
beat: only a pause of a process ends them and sets a check off, so that worlds of hundreds cost nothing.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from falak.core import events as ev

if TYPE_CHECKING:
    from falak.sim.host import Host

SILENT_S: Final = 1.125
"""Without a beat for 1 s a peer is told silent, as it is noticed between two beats."""


class Beats:
    """Those that one host watches (``watched``), and which of them it was told to be silent (``silent``)."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.watched: dict[str, None] = {}
        self.silent: dict[str, None] = {}

    def reset(self) -> None:
        """A new process watches nobody."""
        self.watched, self.silent = {}, {}

    def watch(self, peer: str, on: bool) -> None:
        """Exchange beats with a peer, or stop. Starting counts as a beat heard."""
        self.silent.pop(peer, None)
        self.watched.pop(peer, None)
        if on:
            self.watched[peer] = None
            self._look_later(peer)

    def host_paused(self) -> None:
        """Its beats stop: whoever watches it looks a while later."""
        for other in list(self._host.world.hosts.values()):
            if self._host.id in other.beats.watched:
                other.beats._look_later(self._host.id)

    def host_resumed(self) -> None:
        """Its beats go on, and it looks for those of others that stopped while it stood still."""
        world = self._host.world
        for other in list(world.hosts.values()):
            if other.beats.silent.pop(self._host.id, self) is None:
                other.later(0.0, ev.PeerBack(self._host.id))
        for peer in self.watched:
            if not world.by_id[peer].answers:
                self._look_later(peer)

    def _look_later(self, peer: str) -> None:
        host = self._host
        if not host.world.by_id[peer].answers:
            host.world.after(SILENT_S, partial(self._look, host.runs, peer, host.world.now))

    def _look(self, run: int, peer: str, since: float) -> None:
        """Tell of a silence, if it lasts and this process ran all the time."""
        host, other = self._host, self._host.world.by_id[peer]
        ran = host.runs == run and host.answers and peer in self.watched and peer in host.links
        if ran and other.up and not other.answers and other.paused_at <= since and peer not in self.silent:
            self.silent[peer] = None
            host.step(ev.PeerSilent(peer, host.world.now - since))
