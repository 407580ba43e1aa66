"""``python -m falak.runtimes.compile SOURCE TARGET``: compile a component for this machine.

Run aside, in a process of its own: it takes seconds of CPU. Exit code 0: TARGET is there, whole and on disk.
``CAPSULE_FAULT``: the component is bad anywhere (standard output says why). Any other: this node could not.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from falak.files import sync_folder
from falak.seam import compile_component

CAPSULE_FAULT: Final = 3


def compile_to(source: Path, target: Path) -> None:
    """Raises ``ValueError`` for a bad component and ``OSError``. An AOT file that a power cut left half
    written would be run as code: it gets its name only once its bytes are on the disk."""
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        compile_component(str(source), str(unfinished))
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(target)
        sync_folder(target.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def main() -> int:
    """The command."""
    source, target = map(Path, sys.argv[1:])
    try:
        compile_to(source, target)
    except ValueError as error:
        print(error)
        return CAPSULE_FAULT
    except OSError as error:
        print(f"{error.filename or target}: {error.strerror or error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
