"""One request to a node's control socket: framing, deadlines, and errors that say what to do.

Owns the socket for as long as one request takes. A request is one line of JSON, an answer is any number of
``{"item": …}`` lines and one ``{"done": …}`` or ``{"error": …}``. It knows no operation by name.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from falak.errors import NO_NODE, OperatorError
from falak.whereabouts import SOCKET_NAME

PROTOCOL: Final = 1
LINE_MAX_BYTES: Final = 1024 * 1024
"""One line, either way. A longer one ends the request with an error."""
CONNECT_S: Final = 3.0
"""A node that does not take a connection for this long is not reachable."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class NoNode(OperatorError):
    """No node answers in this data folder."""

    def __init__(self, data: Path, why: str) -> None:
        hint = f"start one there: falak up --data {data}; or say where one is: --data DIR, or FALAK_DATA=DIR"
        super().__init__(f"no node is reachable in {data}: {why}", hint, NO_NODE)


class Stream(Generic[Item, Result]):
    """The items of one answer as they come, and then ``result``. Close it, or use it in ``with``, to end early.

    Iterating raises ``OperatorError`` with the node's own words when the operation fails, when the node does
    not answer within ``deadline_s`` (None: it may take for ever, as following does), or when it goes away.
    """

    def __init__(self, data: Path, op: str, arguments: dict[str, Any], deadline_s: float | None) -> None:
        self._data, self._op = data, op
        self._deadline_s = deadline_s
        self._ends_at = time.monotonic() + deadline_s if deadline_s is not None else None
        self._result: Result | None = None
        self._ended = False
        request = msgspec.json.encode({"v": PROTOCOL, "op": op, **arguments}) + b"\n"
        if len(request) > LINE_MAX_BYTES:
            raise OperatorError(f"the request {op} takes {len(request)} bytes, {LINE_MAX_BYTES} are the most")
        self._socket = _connect(data)
        self._buffer = bytearray()
        try:
            self._socket.sendall(request)
        except OSError as error:
            self.close()
            raise NoNode(data, f"it hung up ({error.strerror})") from error

    def __enter__(self) -> Stream[Item, Result]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; the node ends what it was doing for this request. Safe to call twice."""
        self._socket.close()

    @property
    def result(self) -> Result:
        """What came after the last item; takes the items that nobody took."""
        if not self._ended:
            for _ in self:
                pass
        return cast(Result, self._result)

    def __iter__(self) -> Iterator[Item]:
        try:
            while not self._ended:
                answer = self._answer()
                if "item" in answer:
                    yield answer["item"]
                else:
                    self._end(answer)
        finally:
            self.close()

    def _end(self, answer: dict[str, Any]) -> None:
        if "error" in answer:
            error = answer["error"]
            raise OperatorError(str(error["what"]), str(error.get("hint", "")), int(error.get("exit", 1)))
        if "done" not in answer:
            raise self._strange()
        self._ended, self._result = True, answer["done"]

    def _answer(self) -> dict[str, Any]:
        try:
            answer = msgspec.json.decode(self._line())
        except msgspec.DecodeError as error:
            raise self._strange() from error
        if not isinstance(answer, dict):
            raise self._strange()
        return answer

    def _strange(self) -> OperatorError:
        return OperatorError(
            f"the node in {self._data} answered {self._op} with something that is not the control protocol",
            "is it of another version? `falak version` tells both",
        )

    def _line(self) -> bytes:
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > LINE_MAX_BYTES:
                raise self._strange()
            self._buffer += self._receive()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _receive(self) -> bytes:
        try:
            if self._ends_at is not None:
                self._socket.settimeout(max(0.001, self._ends_at - time.monotonic()))
            data = self._socket.recv(65536)
        except TimeoutError as error:
            raise OperatorError(
                f"the node in {self._data} did not answer {self._op} within {self._deadline_s:g} s",
                "is its machine overloaded, or the process stopped?",
            ) from error
        except OSError as error:
            raise OperatorError(f"the node in {self._data} broke off {self._op}: {error.strerror}") from error
        if not data:
            followed = self._deadline_s is None
            how = "without a goodbye, while it told" if followed else "before it had answered"
            raise OperatorError(
                f"the node in {self._data} ended {how} {self._op}", "what it printed last says why"
            )
        return data


def _connect(data: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(CONNECT_S)
    try:
        connection.connect(str(data / SOCKET_NAME))
    except OSError as error:
        connection.close()
        raise NoNode(data, _why(data, error)) from error
    connection.settimeout(None)
    return connection


def _why(data: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no node has run there" if not data.is_dir() else "no node runs there"
    if isinstance(error, ConnectionRefusedError):
        return "the node that ran there has ended"
    if isinstance(error, TimeoutError):
        return f"the node there takes no connection for {CONNECT_S:g} s"
    if isinstance(error, PermissionError):
        return "this user may not use the node there (its control.sock belongs to who started it)"
    return error.strerror or str(error)
