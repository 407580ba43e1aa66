"""How the demo is interrupted: in order, and never between a process's start and its entry in the list.

Owns the handlers of SIGINT, SIGTERM and SIGHUP while it is entered. A signal becomes an exception, so that
whoever started processes can end them; while it is held back it waits.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Final

NUMBERS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Enter it; then a signal raises ``KeyboardInterrupt`` or ``SystemExit`` (128 and its number)."""

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._held = 0
        self._waiting: int | None = None

    def __enter__(self) -> Signals:
        self._before = {number: signal.signal(number, self._take) for number in NUMBERS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold signals back: for what must be whole and takes a moment. The first one is raised at the end."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        self._raise()

    @contextmanager
    def ignored(self) -> Iterator[None]:
        """Take no notice of them: for the end itself, which impatience must not interrupt."""
        self._held += 1
        yield
        self._held -= 1
        self._waiting = None

    def _take(self, number: int, frame: FrameType | None) -> None:
        self._waiting = self._waiting or number
        self._raise()

    def _raise(self) -> None:
        if self._held or self._waiting is None:
            return
        number, self._waiting = self._waiting, None
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)
