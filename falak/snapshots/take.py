"""``python -m falak.snapshots.take FOLDER FILE``: take a person's file into a folder of artifacts.

Run aside, in a process of its own: hashing, copying and looking into a component must not hold up a node.
Prints one JSON object: ``{"digest", "size_bytes", "exports"}``, or ``{"why"}`` (a text for people) with exit
code 1 (disk full, not readable) or 2 (no component). Nothing is left in the folder but a whole, verified file.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Final

from falak.errors import USAGE
from falak.files import sync_folder
from falak.seam import inspect_component

CHUNK_BYTES: Final = 1024 * 1024
SIZE_MAX_BYTES: Final = 256 * 1024 * 1024
"""The largest file taken: no larger one is compiled."""


def take(folder: Path, source: Path) -> dict[str, object]:
    """Copy ``source`` to ``folder/DIGEST``. Raises ``ValueError`` for a file that is no component (the text
    says why) and ``OSError``."""
    unfinished = folder / f".take.{os.getpid()}.tmp"
    try:
        digest, size_bytes = _copy(source, unfinished)
        exports = _exports(unfinished, source)
        unfinished.replace(folder / digest)
        sync_folder(folder)
    finally:
        unfinished.unlink(missing_ok=True)
    return {"digest": digest, "size_bytes": size_bytes, "exports": exports}


def _exports(copy: Path, source: Path) -> list[str]:
    """What is kept is looked into; what is wrong with it is told of the file that the person knows."""
    try:
        return inspect_component(str(copy))["exports"]
    except ValueError as error:
        raise ValueError(str(error).replace(f"{copy}: ", f"{source} ")) from None


def _copy(source: Path, target: Path) -> tuple[str, int]:
    digest, size_bytes = hashlib.sha256(), 0
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(CHUNK_BYTES):
            size_bytes += len(chunk)
            if size_bytes > SIZE_MAX_BYTES:
                raise ValueError(f"{source} is larger than {SIZE_MAX_BYTES // 1024**2} MiB")
            digest.update(chunk)
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest(), size_bytes


def main() -> int:
    """The command."""
    folder, source = map(Path, sys.argv[1:])
    try:
        print(json.dumps(take(folder, source)))
    except OSError as error:
        print(json.dumps({"why": f"{error.filename or source}: {error.strerror or error}"}))
        return 1
    except ValueError as error:
        print(json.dumps({"why": str(error)}))
        return USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main())
