"""``python -m falak.demo.node ARGUMENTS...``: the command ``falak``, as a process that ends with its demo.

Owns that end only. The demo holds a pipe to this process's standard input: when it is gone, however it ended,
the pipe closes and the node says goodbye (SIGTERM). A demo that leaves its nodes behind on purpose writes first.
"""

from __future__ import annotations

import os
import runpy
import signal
import threading
from typing import Final

STAY: Final = b"stay"


def end_with_demo() -> None:
    """Wait for the pipe to close, or for the word to stay."""
    if not os.read(0, len(STAY)):
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=end_with_demo, daemon=True).start()
    runpy.run_module("falak", run_name="__main__", alter_sys=True)
