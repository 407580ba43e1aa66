"""The three kinds of errors that Falak raises on purpose. Owns who is at fault, never how it is shown.

``OperatorError``: a person can do something about it. ``PeerError``: a stranger misbehaved; it is counted and
work goes on. ``CapsuleError``: the workload's fault, which no other node would do better. Everything else that
is raised is a bug.
"""

from __future__ import annotations

from typing import Final

FAILED: Final = 1
USAGE: Final = 2
NO_NODE: Final = 3
NOT_SERVING: Final = 4
"""Exit codes of commands: it failed, it was asked wrongly, no node is reachable, done but not serving."""


class OperatorError(Exception):
    """What happened and where (``what``), what to do about it (``hint``, may be empty), and the command's
    exit code (one of the constants above)."""

    def __init__(self, what: str, hint: str = "", exit: int = FAILED) -> None:
        super().__init__(what)
        self.what, self.hint, self.exit = what, hint, exit

    def __str__(self) -> str:
        return f"{self.what}\n{self.hint}" if self.hint else self.what


class PeerError(Exception):
    """A peer sent what it should not have."""


class CapsuleError(Exception):
    """A capsule's own fault: its file is no component, it trapped, it used more than its limits."""
