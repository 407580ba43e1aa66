"""What is known of another node, and who wants to hear of it. Owns the shape; ``membership`` and ``suspicion`` fill
it in."""

from __future__ import annotations

from typing import Protocol

import msgspec

from falak.core.model import Profile


class Watcher(Protocol):
    """Who wants to know of members: the node, which tells its rooms."""

    def member_back(self, peer: str) -> None:
        """It may be listed again, and asked again where there is a link."""

    def member_suspended(self, peer: str) -> None:
        """There is evidence against it."""

    def member_unlinked(self, peer: str) -> None:
        """Its link broke or fell silent: what was asked of it may be lost, and nothing can be asked of it."""

    def boot_ended(self, peer: str, boot: int) -> None:
        """That run of the member is over: what it claimed is void."""

    def members_changed(self) -> None:
        """The set of members that are not dropped is another one: electors move."""


class Member(msgspec.Struct):
    """One other node. ``greeted``: its hello came over its own link since it was last dropped; only then it is
    watched. ``missed``: its link was lost and it was not met again since; ``suspended``: its claims are not listed;
    ``silent``: its link is open and no beat comes. ``cured_at``: when it last answered for itself while it was
    suspect; ``vouched_at``: when another member last said that it hears it. ``evidence``: why it is suspect or was
    dropped, for people."""

    profile: Profile
    state: str
    heard_at: float
    linked: bool = False
    greeted: bool = False
    suspended: bool = False
    silent: bool = False
    beating: bool = False
    tries: int = 0
    refusals: int = 0
    evidence: str = ""
    dialling: bool = False
    missed: bool = False
    dialled_at: float = 0.0
    lost_at: float = 0.0
    cured_at: float = -1e9
    vouched_at: float = -1e9
    rtt_s: float = 0.0
