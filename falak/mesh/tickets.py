"""Tickets: what lets a node into a mesh, as one word that people copy.

Owns the encoding. A ticket holds the mesh's network key, addresses to dial and what its bearer may do; to
people it is opaque. Whoever has it can join: it is a secret. It is not checked against anybody here.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Final

import msgspec

from falak.core.model import UNREADABLE
from falak.errors import OperatorError

PREFIX: Final = "falak1"
VERSION: Final = 1
KEY_BYTES: Final = 32
MEMBER: Final = "member"
"""The one thing a bearer may do: be a node of the mesh."""
TICKET_MAX_CHARS: Final = 4096
ADDRESSES_MAX: Final = 16
"""Addresses in a ticket; a node with more gives the first."""


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """``addresses`` are multiaddrs with ``/p2p/ID``."""

    version: int
    network_key: bytes
    addresses: tuple[str, ...]
    role: str


def encode_ticket(network_key: bytes, addresses: Sequence[str]) -> str:
    """The word: ``falak1`` and base64url of a msgpack array."""
    ticket = Ticket(VERSION, network_key, tuple(addresses[:ADDRESSES_MAX]), MEMBER)
    return PREFIX + base64.urlsafe_b64encode(msgspec.msgpack.encode(ticket)).decode().rstrip("=")


def decode_ticket(text: str) -> Ticket:
    """The inverse; spaces and line ends around and in it are forgiven. Raises ``OperatorError`` (exit 2)."""
    word = "".join(text.split())
    if not word.startswith("falak"):
        raise _refused("it does not begin with falak1")
    if not word.startswith(PREFIX):
        raise _refused("it is of a newer version of Falak")
    if len(word) > TICKET_MAX_CHARS:
        raise _refused(f"it has {len(word)} characters, {TICKET_MAX_CHARS} are the most")
    body = word.removeprefix(PREFIX)
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        ticket = msgspec.msgpack.decode(data, type=Ticket)
    except (binascii.Error, ValueError, *UNREADABLE):
        raise _refused("a part of it is missing or changed") from None
    if ticket.version != VERSION or ticket.role != MEMBER:
        raise _refused("it is of a newer version of Falak")
    if len(ticket.network_key) != KEY_BYTES or not 1 <= len(ticket.addresses) <= ADDRESSES_MAX:
        raise _refused("a part of it is missing or changed")
    return ticket


def _refused(why: str) -> OperatorError:
    return OperatorError(
        f"this is no ticket of Falak: {why}", "copy the whole word that `falak ticket` prints", 2
    )
