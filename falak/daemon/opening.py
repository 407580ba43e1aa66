"""What a node opens at its start, each with the error a person needs when it cannot be had. Owns those texts.

Functions only: each makes one thing, or reads one. Nothing here stays open when it raises.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from falak.api.server import ControlServer
from falak.core.model import UNREADABLE, Profile, SignedRecord
from falak.core.settings import Settings
from falak.daemon.folder import DataFolder
from falak.errors import USAGE, OperatorError
from falak.mesh.identity import Keys, settle_keys
from falak.mesh.tickets import Ticket
from falak.runtimes.wasm import Wasm
from falak.seam import HEARTBEAT_MAX_BYTES, Events, Gateway, Mesh, flaw_of, open_gateway, open_mesh, size_of
from falak.snapshots.store import Store

log = logging.getLogger(__name__)

LISTEN_S: Final = 5.0
"""Native listens before it is there; what it listens on is told within this."""
INTERFACES_S: Final = 0.02
"""Where all interfaces are listened on, their addresses come one by one: this long after the first."""
_WILDCARDS: Final = ("/ip4/0.0.0.0/", "/ip6/::/")
_OWN_MACHINE: Final = ("/ip4/127.", "/ip6/::1/", "/ip6/fe80:")
"""Addresses that lead to another node on another machine, or to nobody."""


def keys(folder: DataFolder, tickets: Sequence[Ticket]) -> Keys:
    """This node's keys."""
    try:
        return settle_keys(folder.identity, tickets)
    except OSError as error:
        raise _unusable(folder.identity, error) from None


def artifacts(store: Store) -> tuple[str, ...]:
    """The digests on disk."""
    try:
        return store.open()
    except OSError as error:
        raise _unusable(store.folder, error) from None


def runtime(wasm: Wasm) -> None:
    """The folder of what is compiled."""
    try:
        wasm.open()
    except OSError as error:
        raise _unusable(Path(error.filename or "aot"), error) from None


def _unusable(path: Path, error: OSError) -> OperatorError:
    return OperatorError(
        f"{path} cannot be used: {error.strerror or error}",
        "give this user the right to read and write it, or choose another folder with --data",
    )


def mesh(events: Events, kept: Keys, listen: str, blobs: Path, memory_bytes: int) -> Mesh:
    """libp2p, listening."""
    try:
        return open_mesh(
            events,
            key_seed=kept.key_seed,
            network_key=kept.network_key,
            listen=listen,
            blobs=blobs,
            memory_bytes=memory_bytes,
        )
    except OSError as error:
        raise _not_listening("the mesh", listen, "--listen", error) from None
    except ValueError as error:
        raise OperatorError(
            f"the mesh cannot listen on {listen}: {error}", "see `falak up --help`", USAGE
        ) from None


def gateway(events: Events, node: Mesh, listen: str, settings: Settings) -> Gateway:
    """HTTP, listening."""
    try:
        return open_gateway(events, node, listen=listen, settings=settings)
    except OSError as error:
        raise _not_listening("HTTP", listen, "--http", error) from None
    except ValueError as error:
        raise OperatorError(
            f"HTTP cannot listen on {listen}: {error}", "see `falak up --help`", USAGE
        ) from None


def _not_listening(what: str, address: str, flag: str, error: OSError) -> OperatorError:
    if error.errno == errno.EADDRINUSE:
        why, hint = (
            "it is in use",
            f"another node, or another program? choose another with {flag} (port 0: a free one)",
        )
    elif error.errno == errno.EADDRNOTAVAIL:
        why, hint = "this machine has no such address", f"choose one that it has with {flag}"
    else:
        why, hint = error.strerror or str(error), f"choose another with {flag}"
    return OperatorError(f"{what} cannot listen on {address}: {why}", hint)


async def control(server: ControlServer, path: Path) -> None:
    """The control API, listening."""
    try:
        await server.start(path)
    except OSError as error:
        raise _unusable(path, error) from None


# --- what the disk kept -----------------------------------------------------------------------------------


class Stored(msgspec.Struct, frozen=True):
    """What an earlier run left: ``incarnation`` is 0 for none, ``met_at``: when it last had company, seconds since
    1970 by this machine's clock (0: never)."""

    incarnation: int
    book: tuple[str, ...]
    records: tuple[SignedRecord, ...]
    previous: tuple[SignedRecord, ...] = ()
    met_at: int = 0

    def away_s(self, now: float) -> float:
        """How long ago it had company; 0 where that is not known, or by the clock is yet to come."""
        return max(0.0, now - self.met_at) if self.met_at else 0.0


def stored(folder: DataFolder) -> Stored:
    """Read it. What cannot be used is left out, with a line in the log: others still have it."""
    word = folder.read_state("incarnation").decode(errors="replace")
    if word and not word.isdigit():
        log.error("the stored incarnation cannot be read", extra={"fields": {"found": word[:40]}})
    book = folder.read_state("book").decode(errors="replace").split()
    met = folder.read_state("met").decode(errors="replace")
    return Stored(
        int(word) if word.isdigit() else 0,
        tuple(book),
        _records(folder, "record/"),
        _records(folder, "previous/"),
        int(met) if met.isdigit() else 0,
    )


def _records(folder: DataFolder, prefix: str) -> tuple[SignedRecord, ...]:
    found = (_record(folder, key) for key in folder.state_keys(prefix))
    return tuple(record for record in found if record is not None)


def _record(folder: DataFolder, key: str) -> SignedRecord | None:
    try:
        signed = msgspec.msgpack.decode(folder.read_state(key), type=SignedRecord)
        flaw = flaw_of(signed)
    except UNREADABLE as error:
        flaw = str(error)
    if flaw:
        log.error("a stored record cannot be used", extra={"fields": {"key": key, "why": flaw}})
        return None
    return signed


# --- addresses ----------------------------------------------------------------------------------------------


def is_wildcard(listen: str) -> bool:
    """Whether it stands for all of this machine's addresses."""
    return listen.startswith(_WILDCARDS)


def advertised(listening: Sequence[str], me: str) -> tuple[str, ...]:
    """What others are told to dial, with ``/p2p/ID``: all addresses, but those that lead nowhere from another
    machine only where there is no other."""
    distinct = list(dict.fromkeys(listening))
    outside = [address for address in distinct if not address.startswith(_OWN_MACHINE)]
    return tuple(f"{address}/p2p/{me}" for address in outside or distinct)


def contacts(tickets: Sequence[Ticket], book: Sequence[str], me: str) -> tuple[str, ...]:
    """Whom to dial at the start: the tickets' addresses, then those remembered, never oneself."""
    known = [address for ticket in tickets for address in ticket.addresses] + list(book)
    return tuple(address for address in dict.fromkeys(known) if not address.endswith(f"/p2p/{me}"))


def check_profile(profile: Profile) -> None:
    """A profile that does not fit into a heartbeat would be refused by every peer: refuse it here."""
    size = size_of(profile)
    if size > HEARTBEAT_MAX_BYTES:
        raise OperatorError(
            f"what this node says of itself takes {size} bytes; a heartbeat has {HEARTBEAT_MAX_BYTES}",
            "give it fewer or shorter orbits, tags and addresses (listen on one address instead of all)",
            USAGE,
        )
