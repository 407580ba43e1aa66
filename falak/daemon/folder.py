"""A node's data folder: whose it is, and where everything lies. Owns the folder's lock and its state files.

- ``identity``: this node's keys (0600); ``lock``: held by the process that uses the folder
- ``state/``: what the core persists, a file a key; ``control.sock``: the control API
- ``artifacts/``: blobs by digest, served to peers; ``aot/``: compiled for this machine, never given away
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from falak.errors import OperatorError
from falak.files import remove, remove_unfinished, write_whole

log = logging.getLogger(__name__)

_ESCAPES: Final = (("%", "%25"), ("/", "%2F"))
"""A key as one file name."""


class DataFolder:
    """One folder, used by one process. ``path`` is absolute."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.identity = self.path / "identity"
        self.artifacts = self.path / "artifacts"
        self.socket = self.path / "control.sock"
        self._state = self.path / "state"
        self._lock_path = self.path / "lock"
        self._lock: int | None = None

    def open(self) -> None:
        """Make the folder and take it. Raises ``OperatorError`` when another node has it or it cannot be
        written to."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._take_lock()
            self._state.mkdir(mode=0o700, exist_ok=True)
            remove_unfinished(self.path)
            remove_unfinished(self._state)
            if not os.access(self.path, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            self.socket.unlink(missing_ok=True)  # a killed node's; the lock says that it is nobody's
        except OSError as error:
            self.close()
            raise OperatorError(
                f"the data folder {self.path} cannot be used: {error.strerror or error}",
                "choose another folder with --data, or give this user the right to write there",
            ) from None

    def _take_lock(self) -> None:
        while self._lock is None:
            lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_still(self._lock_path, lock):
                    self._lock = lock
                    os.ftruncate(lock, 0)
                    os.write(lock, str(os.getpid()).encode())
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
                holder = os.read(lock, 32).decode(errors="replace").strip()
                raise OperatorError(
                    f"another node uses the data folder {self.path} (process {holder or 'not known'})",
                    "stop it, or give this node a folder of its own with --data",
                ) from None
            finally:
                if self._lock != lock:
                    os.close(lock)

    def close(self) -> None:
        """Give the folder back: socket and lock are gone. Safe to call twice."""
        if self._lock is not None:
            self.socket.unlink(missing_ok=True)
            self._lock_path.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    # --- state -------------------------------------------------------------------------------------------

    def write_state(self, key: str, value: bytes) -> None:
        """Store bytes under a key; empty: remove them. Raises ``OSError`` and ``ValueError``. It waits for
        the disk: not for the loop's thread."""
        path = self._state_path(key)
        if value:
            write_whole(path, value)
        else:
            remove(path)

    def read_state(self, key: str) -> bytes:
        """What is stored under a key; empty where nothing is, or where it cannot be read (logged)."""
        try:
            return self._state_path(key).read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            log.error("state cannot be read", extra={"fields": {"key": key, "why": str(error)}})
            return b""

    def state_keys(self, prefix: str) -> Iterator[str]:
        """Keys stored that begin with ``prefix``, sorted."""
        for name in sorted(path.name for path in self._state.iterdir()):
            key = name
            for plain, escaped in reversed(_ESCAPES):
                key = key.replace(escaped, plain)
            if key.startswith(prefix):
                yield key

    def _state_path(self, key: str) -> Path:
        name = key
        for plain, escaped in _ESCAPES:
            name = name.replace(plain, escaped)
        return self._state / name


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the locked file is the one under the path: its last holder may have removed it meanwhile."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
