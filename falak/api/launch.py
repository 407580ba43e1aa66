"""``launch``: from a component file to a capsule that orbits and has answered a request, told stage by stage.

Owns the order of the stages and their deadlines. Each ends well, or the launch ends with the reason: before
"kept" nothing was published, and what could run nowhere never is; after it the capsule orbits, and only its first
answer may be missing (exit 4).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from falak.api.desk import Desk, Emit
from falak.api.takeover import taken_over
from falak.core.effects import Published
from falak.core.events import Event, Publish
from falak.core.model import Artifact
from falak.core.orbits import default_host
from falak.errors import NOT_SERVING, USAGE, OperatorError

CALL_S: Final = 30.0
"""Longest wait for one answer: parking ends before, so this ends only a capsule that does not answer."""
CALL_TRIES: Final = 3
"""A large component may still be compiled where it was to start when the first request's patience ends."""
CALL_AGAIN_S: Final = 1.0
SLACK_S: Final = 5.0
"""The core ends a publication itself; it is not waited for longer than this beyond its own deadline."""
HEAD_MAX_BYTES: Final = 64 * 1024
REASON_MAX_CHARS: Final = 500
MEDIA_TYPE: Final = "application/wasm"


class Launch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``path`` is an absolute path of a component, ``record`` the fields of its manifest."""

    path: str
    record: dict[str, Any]
    call: bool = True


async def launch(desk: Desk, arguments: Launch, emit: Emit) -> dict[str, Any]:
    """The operation."""
    from falak.manifest import from_fields  # noqa: PLC0415  # only a launch needs it: an idle node is small

    capsule = from_fields(arguments.record)
    if not desk.node.members.joined:
        raise OperatorError(
            "this node is not part of its mesh yet", "wait for `falak up` to say that it joined"
        )
    _check_watched(desk, capsule.orbit)
    watch = _Stopwatch()
    digest, size_bytes, exports = await desk.take(Path(arguments.path))
    await emit({"stage": "taken", "digest": digest, "size_bytes": size_bytes, "ms": watch.lap_ms()})
    record = capsule.to_record(Artifact(digest, size_bytes, MEDIA_TYPE))
    await _check_compiles(desk, digest, arguments.path)
    await emit({"stage": "checked", "exports": exports, "ms": watch.lap_ms()})
    kept = await published(desk, lambda request: Publish(request, record), record.name, "published")
    stage: dict[str, Any] = {
        "generation": kept.generation,
        "keepers": list(kept.keepers),
        "changed": kept.changed,
    }
    await emit({"stage": "kept", **stage, "ms": watch.lap_ms()})
    port = desk.http.rpartition(":")[2]
    done = {
        "name": kept.name,
        "version": record.version,
        **stage,
        "url": f"http://{default_host(kept.name)}:{port}/",
        "answered": None,
    }
    if arguments.call:
        if why := await taken_over(desk, kept.name, kept.generation):
            raise _silent(kept.name, why)
        done["answered"] = await _call(desk, kept.name)
        await emit({"stage": "called", **done["answered"]})
    return done


def _check_watched(desk: Desk, orbit: str) -> None:
    """A capsule runs at nodes that watch its orbit: one that nobody watches is a slip of the pen."""
    members = desk.node.members
    watched = {o for p in map(members.profile_of, members.present()) if p for o in p.orbits}
    if orbit not in watched:
        raise OperatorError(
            f"no node watches the orbit {orbit}: nothing could run there",
            f"watched here: {' '.join(sorted(watched))}; a node that watches it: falak up --orbit {orbit}",
            USAGE,
        )


async def _check_compiles(desk: Desk, digest: str, path: str) -> None:
    """The component is compiled here, where it is published, before anybody else hears of it: one that does not
    serve HTTP would fail at every node, and replace one that does."""
    prepared = await desk.prepared(digest)
    if not prepared.why:
        return
    known = (a.digest for held in desk.node.orbits.records.values() for a in held.record.artifacts)
    if digest not in known:
        desk.discard(digest)
    why = prepared.why.replace("its component", path)
    if prepared.capsule_fault:
        raise OperatorError(why, "nothing was published: a capsule exports wasi:http/incoming-handler", USAGE)
    raise OperatorError(f"{path} could not be compiled here: {why}", "nothing was published")


class _Stopwatch:
    def __init__(self) -> None:
        self._at = time.monotonic()

    def lap_ms(self) -> float:
        before, self._at = self._at, time.monotonic()
        return round((self._at - before) * 1000, 3)


async def published(desk: Desk, event: Callable[[int], Event], name: str, done: str) -> Published:
    """Have the core publish something and wait for what comes of it. ``done`` says in one word what was to be
    done with the capsule. Raises ``OperatorError`` with the reason."""
    request = next(desk.requests)
    ended: asyncio.Future[Published] = asyncio.get_running_loop().create_future()
    desk.launches[request] = lambda effect: None if ended.done() else ended.set_result(effect)
    try:
        desk.tell(event(request))
        async with asyncio.timeout(desk.node.settings.publish_s + SLACK_S):
            came = await ended
    except TimeoutError:
        raise OperatorError(
            f"{name} was not {done}: this node did not come to it in time",
            "is its machine overloaded? try again, or at another node",
        ) from None
    finally:
        desk.launches.pop(request, None)
    if came.why:
        raise OperatorError(f"{name} was not {done}: {came.why}")
    return came


async def _call(desk: Desk, name: str) -> dict[str, Any]:
    """Real requests through this node's own gateway, until one is not refused by the mesh. Raises
    ``OperatorError`` (exit 4) when the capsule did not answer, or answered that it failed."""
    refusal = ""
    for again in range(CALL_TRIES):
        await asyncio.sleep(CALL_AGAIN_S if again else 0.0)
        seen = max((item["n"] for item in desk.notes.after(0)), default=0)
        watch = _Stopwatch()
        try:
            async with asyncio.timeout(CALL_S):
                status, body = await _request(desk.http, default_host(name))
        except TimeoutError:
            raise _silent(name, f"no answer within {CALL_S:g} s") from None
        except (OSError, ValueError) as error:
            raise _silent(name, str(error)) from None
        refusals = [i["reason"] for i in desk.notes.after(seen, name) if i["event"] == "request.refused"]
        if not refusals and status < 500:
            return {"status": status, "ms": watch.lap_ms()}
        if not refusals:
            raise _silent(name, f"HTTP {status}: {body.strip()[:REASON_MAX_CHARS] or 'no text'}")
        refusal = str(refusals[-1])
    raise _silent(name, refusal)


def _silent(name: str, why: str) -> OperatorError:
    hint = f"it orbits all the same; `falak why {name}` says more"
    return OperatorError(f"{name} was published, but did not answer: {why}", hint, NOT_SERVING)


async def _request(http: str, host: str) -> tuple[int, str]:
    """Status and the beginning of the body of ``GET /``. The answerer is our own gateway, and the connection
    is closed behind the answer: no client library is needed for that. Raises ``OSError``, ``ValueError``."""
    address, _, port = http.rpartition(":")
    bare = address.strip("[]")
    bare = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bare, bare)
    reader, writer = await asyncio.open_connection(bare, int(port))
    try:
        writer.write(f"GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n")
        words = head.split()
        if len(words) < 2 or not words[1].isdigit():
            raise ValueError(f"the gateway answered {head[:40]!r}")
        rest = await reader.read(HEAD_MAX_BYTES)
        return int(words[1]), rest.partition(b"\r\n\r\n")[2].decode(errors="replace")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise ValueError("the gateway closed the connection without an answer") from None
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
