"""``python -m falak.runtimes.compile SOURCE DIGEST TARGET``: compile a component for this machine.

Run aside, in a process of its own: it takes seconds of CPU. Exit code 0: TARGET is there, whole, sealed and on
disk. ``CAPSULE_FAULT``: the component is bad anywhere; ``DAMAGED``: SOURCE is not the component that DIGEST
names (standard output says why). Any other: this node could not. Its last line may come before strangers: it
names no file.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from falak.runtimes import seal
from falak.seam import compile_component

CAPSULE_FAULT: Final = 3
DAMAGED: Final = 4


class Damaged(Exception):
    """The component on this disk is not what its digest says; the text says what it is."""


def compile_to(source: Path, digest: str, target: Path) -> None:
    """Raises ``ValueError`` for a bad component, ``Damaged``, and ``OSError``."""
    try:
        found = seal.digest_of(source)
    except FileNotFoundError:
        raise Damaged("its component is not on this node's disk any more") from None
    if found != digest:
        raise Damaged("its component was damaged on this node's disk")
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        compile_component(str(source), str(unfinished))
        seal.put(unfinished, target)
    except ValueError as error:
        if str(error).startswith(f"{unfinished}: "):  # not the component's fault
            raise OSError(str(error)) from None
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def main() -> int:
    """The command."""
    source, digest, target = sys.argv[1:]
    try:
        compile_to(Path(source), digest, Path(target))
    except ValueError as error:
        print(str(error).replace(f"{source}: ", "its component "))
        return CAPSULE_FAULT
    except Damaged as error:
        print(error)
        return DAMAGED
    except OSError as error:
        print(f"{error.filename or target}: {error.strerror or error}", flush=True)
        print(f"its compiled file cannot be written{f': {error.strerror}' if error.strerror else ''}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
