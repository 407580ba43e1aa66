"""``python -m falak.errand MODULE ARGUMENTS...``: the child's side of ``falak.aside``, around a module.

Owns two things, from before the module is even loaded: its low priority, and that it ends with its parent. The
parent holds a pipe to this process's standard input and never writes; when the parent is gone, however it
ended, the pipe is closed. It imports nothing heavy: it is started for every piece of work.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
from typing import Final

NICE: Final = 10


def end_with_parent() -> None:
    """Wait for the pipe to close, then end at once: what was under way is cleared at the next start."""
    while os.read(0, 1):
        pass
    os._exit(1)


def main() -> None:
    """The command."""
    os.nice(NICE)
    threading.Thread(target=end_with_parent, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
