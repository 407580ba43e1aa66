"""The control socket: one request a line, items and one end as lines back. Owns framing, deadlines and bounds.

It knows operations only by their table. A client that hangs up ends its operation; one that does not read is
hung up on; whoever follows is told when the node ends. Whatever goes wrong becomes an ``error`` line with what to
do; the node itself is never harmed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from falak.api import drain, gather, launch, listings, withdraw
from falak.api.desk import Desk
from falak.core.model import UNREADABLE
from falak.errors import USAGE, OperatorError

log = logging.getLogger(__name__)

VERSION: Final = 1
LINE_MAX_BYTES: Final = 1024 * 1024
CONNECTIONS_MAX: Final = 64
"""Requests at once; one more is told to try again."""
REQUEST_S: Final = 5.0
"""A client says what it wants within this."""
WRITE_S: Final = 10.0
"""A client that takes nothing for this long is hung up on."""
LAST_WORD_S: Final = 0.5
"""When the node ends, clients have this long to take the last word that they are told."""
ANSWER_S: Final = 5.0
GATHER_S: Final = gather.WAIT_MAX_S + 2.0
LAUNCH_S: Final = 240.0
DRAIN_S: Final = 120.0
"""Above any grace that a sane setting has; the operation itself ends sooner."""

Operation = Callable[[Desk, Any, Any], Awaitable[Any]]


class Op(msgspec.Struct, frozen=True):
    """``deadline_s`` is None for what may be followed for ever."""

    function: Operation
    arguments: type
    deadline_s: float | None = ANSWER_S


OPS: Final[dict[str, Op]] = {
    "node": Op(listings.node, listings.Nothing),
    "nodes": Op(listings.nodes, listings.Nothing),
    "orbits": Op(listings.orbits, listings.Nothing),
    "capsules": Op(listings.capsules, listings.Nothing),
    "counters": Op(listings.counters, listings.Nothing),
    "leave": Op(listings.leave, listings.Nothing),
    "withdraw": Op(withdraw.withdraw, withdraw.Named, LAUNCH_S),
    "rollback": Op(withdraw.rollback, withdraw.Named, LAUNCH_S),
    "drain": Op(drain.drain, drain.Arguments, DRAIN_S),
    "ps": Op(gather.ps, gather.Arguments, GATHER_S),
    "events": Op(gather.events, gather.Listing, None),
    "logs": Op(gather.logs, gather.Lines, None),
    "why": Op(gather.why, gather.Named, GATHER_S),
    "launch": Op(launch.launch, launch.Launch, LAUNCH_S),
}


class ControlServer:
    """One node's socket."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._ending = asyncio.Event()

    async def start(self, path: Path) -> None:
        """Listen; nobody but this user may connect. Raises ``OSError``."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        except OSError:
            listener.close()
            raise
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=LINE_MAX_BYTES)

    async def close(self) -> None:
        """Listen no more, and end what is under way: who follows is done, who waits for more is told why."""
        if self._server is not None:
            self._server.close()
        self._ending.set()
        if self._open:
            await asyncio.wait(self._open, timeout=LAST_WORD_S)
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._converse(reader, _Client(writer))
        except _Gone:
            writer.transport.abort()
        except asyncio.CancelledError:  # by ``close``: asyncio's own callback cannot bear a cancelled task
            writer.transport.abort()
        finally:
            self._open.discard(task)
            await _hang_up(writer)

    async def _converse(self, reader: asyncio.StreamReader, client: _Client) -> None:
        try:
            if len(self._open) > CONNECTIONS_MAX:
                raise OperatorError(
                    f"this node answers {CONNECTIONS_MAX} requests at once already", "try again"
                )
            op, arguments = await _request(reader)
            done = await self._until_end(reader, op, arguments, client)
        except OperatorError as error:
            what = {"what": error.what, "hint": error.hint, "exit": error.exit}
            await client.write({"error": what})
        else:
            if done is not _HUNG_UP:
                await client.write({"done": done})

    async def _until_end(self, reader: asyncio.StreamReader, op: Op, arguments: Any, client: _Client) -> Any:
        """What the operation came to, or what is told where the client's or the node's end comes first."""
        work = asyncio.ensure_future(self._work(op, arguments, client))
        hangup = asyncio.ensure_future(reader.read(1))
        ending = asyncio.ensure_future(self._ending.wait())
        tasks = (work, hangup, ending)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if hangup.done():
                return _HUNG_UP
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if op.deadline_s is None:
            return gather.ENDED
        raise OperatorError("this node ends: what was asked of it is not finished", "ask another node")

    async def _work(self, op: Op, arguments: Any, client: _Client) -> Any:
        try:
            async with asyncio.timeout(op.deadline_s):
                return await op.function(self._desk, arguments, client.item)
        except TimeoutError:
            raise OperatorError(
                f"this node did not finish within {op.deadline_s} s", "is its machine overloaded?"
            ) from None
        except _Gone:
            raise
        except OSError as error:
            raise OperatorError(f"{error.filename or 'this node'}: {error.strerror or error}") from None
        except (OperatorError, asyncio.CancelledError):
            raise
        except Exception as error:  # a bug of ours: whoever asked is told, the node goes on
            log.exception("a control operation failed")
            raise OperatorError(
                f"a bug in Falak: {type(error).__name__}: {error}", "please report it with the node's log"
            ) from None


_HUNG_UP: Final = object()


class _Gone(Exception):
    """The client hung up, or does not read: nothing can be told it any more."""


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    """Close; what a client does not take within ``WRITE_S`` is thrown away."""
    writer.close()
    try:
        async with asyncio.timeout(WRITE_S):
            await writer.wait_closed()
    except TimeoutError:
        writer.transport.abort()
    except OSError:
        pass


class _Client:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def item(self, item: dict[str, Any]) -> None:
        await self.write({"item": item})

    async def write(self, line: dict[str, Any]) -> None:
        if self._writer.is_closing():  # uvloop takes a write to it for a bug
            raise _Gone
        self._writer.write(msgspec.json.encode(line, enc_hook=str) + b"\n")
        try:
            async with asyncio.timeout(WRITE_S):
                await self._writer.drain()
        except OSError:  # its end, or the deadline
            raise _Gone from None


async def _request(reader: asyncio.StreamReader) -> tuple[Op, Any]:
    """The operation asked for and its arguments. Raises ``OperatorError`` (exit 2)."""
    try:
        async with asyncio.timeout(REQUEST_S):
            line = await reader.readuntil(b"\n")
        asked = msgspec.json.decode(line, type=dict[str, Any])
    except TimeoutError:
        raise OperatorError(f"no request came within {REQUEST_S:g} s", exit=USAGE) from None
    except asyncio.LimitOverrunError:
        raise OperatorError(f"a request has at most {LINE_MAX_BYTES} bytes", exit=USAGE) from None
    except asyncio.IncompleteReadError:
        raise _Gone from None
    except UNREADABLE as error:
        raise OperatorError(f"the request is no JSON object: {error}", exit=USAGE) from None
    version, name = asked.pop("v", None), asked.pop("op", None)
    if version != VERSION:
        raise OperatorError(
            f"this node speaks version {VERSION} of the control API, the request version {version}",
            "use the falak command of the node's version",
            USAGE,
        )
    op = OPS.get(name) if isinstance(name, str) else None
    if op is None:
        raise OperatorError(
            f"this node knows no operation {name!r}", "it knows " + ", ".join(sorted(OPS)), USAGE
        )
    try:
        return op, msgspec.convert(asked, op.arguments)
    except UNREADABLE as error:
        raise OperatorError(f"{name}: {error}", "update the falak command or the node", USAGE) from None
