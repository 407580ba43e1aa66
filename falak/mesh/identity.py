"""Who this node is: its key, its mesh's network key, and the boot id of this run.

Owns the file ``DATA/identity`` (0600): whoever has it is this node. The incarnation is the core's and lies with
its state. It never makes a new key where an old one cannot be read: that would be another node.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from falak.core.model import UNREADABLE
from falak.errors import OperatorError
from falak.files import write_whole
from falak.mesh.tickets import KEY_BYTES, Ticket

VERSION: Final = 1
BOOT_BITS: Final = 48
"""Of randomness in a boot id: no two runs of a node share one."""


class Keys(msgspec.Struct, frozen=True):
    """The identity file: JSON, the keys (32 bytes each) in base64."""

    key_seed: bytes
    network_key: bytes
    version: int = VERSION


def boot_id() -> int:
    """A new random number for this run."""
    return int.from_bytes(os.urandom(BOOT_BITS // 8))


def settle_keys(path: Path, tickets: Sequence[Ticket]) -> Keys:
    """This node's keys: those stored, or new ones of the tickets' mesh, or of a new mesh. Raises
    ``OperatorError`` when stored keys cannot be read, or when a ticket is of another mesh."""
    networks = {ticket.network_key for ticket in tickets}
    if len(networks) > 1:
        raise OperatorError("the tickets are of different meshes", "give tickets of one mesh only", 2)
    stored = _read(path)
    if stored:
        if networks and stored.network_key not in networks:
            raise OperatorError(
                f"the ticket is of another mesh than the one this node belongs to ({path})",
                "use a ticket of its mesh, or start a new node with another --data folder",
                2,
            )
        return stored
    keys = Keys(os.urandom(KEY_BYTES), networks.pop() if networks else os.urandom(KEY_BYTES))
    write_whole(path, msgspec.json.encode(keys))
    return keys


def _read(path: Path) -> Keys | None:
    try:
        keys = msgspec.json.decode(path.read_bytes(), type=Keys)
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        raise OperatorError(
            f"{path} is damaged: {error}",
            "restore it from a backup, or remove it: the node then is a new one and needs a ticket to join",
        ) from None
    if keys.version != VERSION or len(keys.key_seed) != KEY_BYTES or len(keys.network_key) != KEY_BYTES:
        raise OperatorError(
            f"{path} was written by another version of Falak (version {keys.version})",
            "run that version, or remove the file: the node then is a new one and needs a ticket to join",
        )
    return keys
