"""Small files that are whole or not there. Owns how they are written; never what is in them.

A power cut at any moment leaves the old content or the new one: the bytes are on the disk before the name is.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

UNFINISHED: Final = ".*.tmp"
"""Pattern of what a killed writer left behind in a folder; never read, safe to remove at a start."""


def write_whole(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace a file's content; only its owner may read it. Without ``durable`` a power cut may lose it (it
    does not wait for the disk then). Raises ``OSError`` (the old content stands) and ``ValueError`` for a name
    that no file can have."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise
    if durable:
        sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file for good; fine if it is not there. Raises ``OSError`` for anything else."""
    with suppress(FileNotFoundError):
        path.unlink()
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring a folder's list of names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_unfinished(folder: Path) -> None:
    """Remove what killed writers left. Call it only while nobody writes there."""
    for path in folder.glob(UNFINISHED):
        remove(path)
