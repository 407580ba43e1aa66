"""Seals: a file's sha256 beside it, so that one that is not as it was written is known by it.

Functions only. What a file holds is not theirs, nor what becomes of one that is not whole.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from falak.files import sync_folder, write_whole


def digest_of(path: Path) -> str:
    """The sha256 of a file, as hex. Raises ``OSError``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal_of(path: Path) -> Path:
    """Where a file's seal is."""
    return path.with_suffix(".seal")


def put(unfinished: Path, path: Path) -> None:
    """Give a finished file its seal and its name. What a power cut leaves half written has no name: the bytes
    are on the disk first. Raises ``OSError``."""
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    write_whole(seal_of(path), digest_of(unfinished).encode())
    unfinished.replace(path)
    sync_folder(path.parent)


def is_whole(path: Path) -> bool:
    """Whether a file is there, as it was put."""
    try:
        return seal_of(path).read_bytes() == digest_of(path).encode()
    except OSError:
        return False


def remove(path: Path) -> None:
    """Remove a file and its seal, if they are there. Raises ``OSError``."""
    path.unlink(missing_ok=True)
    seal_of(path).unlink(missing_ok=True)
