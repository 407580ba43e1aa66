"""``capsule.toml``: what its writer says of a capsule, as a ``Capsule``, and everything wrong told at once.

Owns the fields of the file, their spelling (``"128MiB"``, ``"30s"``, half a core is ``0.5``) and their bounds.
A field exists only if something acts on it; any other is refused. It never looks into a component: whether the
file is one, the node that it is launched at says. Every field stands in ``docs/reference/capsule-toml.md``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from falak.core.model import SLOTS_MAX, Artifact, Limits, Record, Resources, Route, Scale, Wishes
from falak.core.settings import TTL_MAX_S, TTL_MIN_S
from falak.errors import OperatorError
from falak.tables import (
    Problem,
    Table,
    WrittenWrong,
    a_boolean,
    a_label,
    a_number,
    a_text,
    kind_of,
    likely,
    read_table,
)

FILE_NAME: Final = "capsule.toml"
KINDS: Final = ("function",)
"""What a capsule can be in this version: something that answers requests and keeps nothing between them."""
ROUTES_MAX: Final = 32
"""Routes of one capsule: every node keeps every route of its orbits."""
LIMIT_MEMORY_MIN_BYTES: Final = 64 * 1024
"""One page of WebAssembly: less runs nothing."""
LIMIT_MEMORY_MAX_BYTES: Final = 1024**3
"""Linear memory that one request may use. The pool reserves address space for this much."""
LIMIT_TIME_MAX_MS: Final = 3600 * 1000
"""Longest CPU or wall time of one request."""
RESOURCE_CPU_MAX: Final = 1024
"""Cores that a copy may declare to need."""
RESOURCE_MEMORY_MAX_BYTES: Final = 1024**4
"""Memory that a copy may declare to need."""
IDLE_MIN_S: Final = 1
"""What copies do is looked at once a second."""
IDLE_MAX_S: Final = 24 * 3600
IDLE_NEVER: Final = "never"
CONCURRENCY_MAX: Final = 100_000
"""Requests at once that a copy may be said to take."""
PREFIX_MAX_CHARS: Final = 256
VERSION_MAX_CHARS: Final = 64
HOST_MAX_CHARS: Final = 253

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)")
_BINARY = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}
_UNITS = _BINARY | {"kB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
_TIME = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|min|h)")
_TIMES_MS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000}
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*/?")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ELSEWHERE = {
    "memory": "write it in [limits] for a request, in [resources] for a copy",
    "cpu": "write it in [limits] for a request, in [resources] for a copy",
    "host": "write it in [[route]]",
    "hosts": "write a [[route]] for each host",
    "routes": "write a [[route]] for each",
    "min": "write it in [scale]",
    "max": "write it in [scale]",
    "concurrency": "write it in [scale]",
    "prefer": "write it in [gravity]",
    "require": "write it in [gravity]",
}


class Capsule(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a capsule before it has a generation. Made by ``load`` and ``from_fields`` only, which
    check it. An empty ``version`` becomes the beginning of its component's digest. ``env`` is sorted by name;
    sizes and times as in ``falak.core.model``."""

    name: str
    version: str = ""
    orbit: str = "default"
    kind: str = "function"
    env: tuple[tuple[str, str], ...] = ()
    routes: tuple[Route, ...] = ()
    limits: Limits = Limits()
    resources: Resources = Resources()
    wishes: Wishes = Wishes()
    outgoing: tuple[str, ...] = ()
    idle_s: int = 60
    scale: Scale = Scale()
    ttl_s: int = 300
    keep: bool = True
    not_after_s: int = 0

    def to_record(self, artifact: Artifact) -> Record:
        """The record that orbits, its generation (0 here) still to be given by the core."""
        return Record(
            self.name,
            0,
            self.version or artifact.digest[:12],
            self.orbit,
            self.kind,
            artifacts=(artifact,),
            routes=self.routes,
            resources=self.resources,
            limits=self.limits,
            wishes=self.wishes,
            env=self.env,
            outgoing=self.outgoing,
            ttl_s=self.ttl_s,
            keep=self.keep,
            not_after_s=self.not_after_s,
            idle_s=self.idle_s,
            scale=self.scale,
        )

    def to_fields(self) -> dict[str, Any]:
        """The capsule as its file would say it, in what JSON can carry: ``from_fields`` reads it back."""
        wishes = self.wishes
        gravity: dict[str, Any] = {"prefer": list(wishes.prefer), "require": list(wishes.require)}
        gravity |= {"spread": wishes.spread}
        gravity |= {key: name for key, name in (("near", wishes.near), ("away", wishes.away)) if name}
        limits, resources, scale = self.limits, self.resources, self.scale
        return {
            "name": self.name,
            **({"version": self.version} if self.version else {}),
            "orbit": self.orbit,
            "kind": self.kind,
            "env": dict(self.env),
            "route": [{"host": route.host, "prefix": route.prefix} for route in self.routes],
            "limits": {
                "memory": limits.memory_bytes,
                "cpu": f"{limits.cpu_ms}ms",
                "wall": f"{limits.wall_ms}ms",
            },
            "resources": {"cpu": resources.cpu_millis / 1000, "memory": resources.memory_bytes},
            "gravity": gravity,
            "outgoing": list(self.outgoing),
            "ttl": f"{self.ttl_s}s",
            "keep": self.keep,
            **({"not_after": _moment(self.not_after_s)} if self.not_after_s else {}),
            "idle": f"{self.idle_s}s" if self.idle_s else IDLE_NEVER,
            "scale": {
                "min": scale.min,
                "max": scale.max,
                **({"concurrency": scale.concurrency} if scale.concurrency else {}),
            },
        }


def load(path: Path) -> tuple[Capsule, Path]:
    """A folder's ``capsule.toml`` (or the file itself): the capsule and the file of its component.

    Raises ``WrittenWrong`` with every problem and its line, ``OperatorError`` when it cannot be read.
    """
    file = path / FILE_NAME if path.is_dir() else path
    if path.is_dir() and not file.exists():
        raise OperatorError(
            f"{path} has no {FILE_NAME}",
            "write one (docs/reference/capsule-toml.md), or launch a .wasm file",
            2,
        )
    table = read_table(file)
    component = _component(table, file.parent)
    capsule = _capsule(table)
    if capsule is None or table.problems:
        raise WrittenWrong(str(file), table.problems)
    return capsule, component


def from_fields(fields: Mapping[str, Any], where: str = "the capsule") -> Capsule:
    """A capsule from the fields of its file without ``component``, as ``to_fields`` gives them.

    Raises ``WrittenWrong`` with every problem; ``where`` names the source in it.
    """
    table = Table(fields, {}, [])
    capsule = _capsule(table)
    if capsule is None or table.problems:
        raise WrittenWrong(where, table.problems)
    return capsule


def _capsule(table: Table) -> Capsule | None:
    """Read everything, note every problem; None without a usable name."""
    if not table.has("name"):
        table.problems.append(Problem(table.line(), "name is missing", 'write name = "my-capsule"'))
    name = table.get("name", "", a_label)
    capsule = Capsule(
        name=name,
        version=table.get("version", "", _version),
        orbit=table.get("orbit", "default", a_label),
        kind=table.get("kind", "function", _kind),
        env=_env(table),
        routes=_routes(table, name),
        limits=_limits(table.table("limits")),
        resources=_resources(table.table("resources")),
        wishes=_wishes(table.table("gravity"), name),
        outgoing=_distinct(table, "outgoing", table.each("outgoing", _host_and_port)),
        ttl_s=table.get("ttl", 300, lambda value: _seconds(value, TTL_MIN_S, TTL_MAX_S)),
        keep=table.get("keep", True, a_boolean),
        not_after_s=table.get("not_after", 0, _not_after_s),
        idle_s=table.get("idle", 60, _idle_s),
        scale=_scale(table.table("scale")),
    )
    table.finish(_ELSEWHERE)
    return capsule if name else None


def _component(table: Table, folder: Path) -> Path:
    if not table.has("component"):
        table.problems.append(Problem(table.line(), "component is missing", 'write component = "NAME.wasm"'))
    written = table.get("component", "", a_text)
    path = folder / written
    if os.path.isabs(written) or ".." in Path(written).parts:
        table.wrong("component", f"{written!r} is not in {folder}", "copy it there")
    elif written and not os.path.isfile(path):
        near = likely(path.name, [file.name for file in sorted(path.parent.glob("*.wasm"))])
        table.wrong("component", f"{written!r} is no file in {folder}", near or "build it first")
    return path


def _version(value: Any) -> str:
    text = a_text(value)
    if not text or len(text) > VERSION_MAX_CHARS or text != text.strip():
        raise ValueError(f"must be a label of 1 to {VERSION_MAX_CHARS} characters without spaces around it")
    return text


def _kind(value: Any) -> str:
    text = a_text(value)
    if text not in KINDS:
        raise ValueError(f"{text!r} does not exist in this version", f'write "{KINDS[0]}", or leave it out')
    return text


def _env(table: Table) -> tuple[tuple[str, str], ...]:
    env = table.table("env")
    read = {}
    for name in env.values:
        if not _ENV_NAME.fullmatch(name):
            env.wrong(name, "is no name of a variable", "letters, digits and _, beginning with a letter or _")
        read[name] = env.get(name, "", _env_value)
    return tuple(sorted(read.items()))


def _env_value(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {kind_of(value)}", "write it in quotes")
    if "\0" in value:
        raise ValueError("has a NUL character in it")
    return value


# --- routes and hosts --------------------------------------------------------------------------------------


def _routes(table: Table, name: str) -> tuple[Route, ...]:
    routes: dict[Route, int] = {}
    for at, entry in enumerate(table.tables("route", ROUTES_MAX)):
        before = len(table.problems)
        if not entry.has("host"):
            what = f"route[{at + 1}] has no host"
            table.problems.append(Problem(entry.line(), what, 'write host = "example.org"'))
        host = entry.get("host", "", lambda value: _routed_host(value, name))
        route = Route(host, entry.get("prefix", "/", _prefix))
        entry.finish()
        if len(table.problems) > before:
            continue
        if route in routes:
            entry.wrong("host", f"is the same route as route[{routes[route] + 1}]", "leave one out")
        routes.setdefault(route, at)
    return tuple(routes)


def _routed_host(value: Any, name: str) -> str:
    host = _host(value)
    if host.endswith(".localhost"):
        if host == f"{name}.localhost":
            raise ValueError(
                f"{host} is this capsule's already", "every capsule has NAME.localhost: leave it out"
            )
        raise ValueError(
            f"{host} belongs to the capsule {host.removesuffix('.localhost')!r}", "choose another host"
        )
    return host


def _host(value: Any) -> str:
    text = a_text(value).lower().removesuffix(".")
    if "/" in text:
        raise ValueError(f"{text!r} is no host", "a host alone, without scheme and path")
    if "*" in text:
        raise ValueError(f"{text!r}: wildcards are not matched", "name each host")
    if ":" in text:
        raise ValueError(f"{text!r} has a port", "a route matches its host at any port: leave the port out")
    if len(text) > HOST_MAX_CHARS or not _HOST.fullmatch(text):
        raise ValueError(f"{text!r} is no host", 'write it like "api.example.org"')
    return text


def _host_and_port(value: Any) -> str:
    host, colon, port = a_text(value).rpartition(":")
    if not colon or "/" in value:
        return _host(value)
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{value!r} has no port from 1 to 65535", 'write "HOST" (any port) or "HOST:PORT"')
    return f"{_host(host)}:{int(port)}"


def _prefix(value: Any) -> str:
    text = a_text(value)
    if not text.startswith("/"):
        raise ValueError(f"{text!r} does not begin with /", f'write "/{text}"')
    if len(text) > PREFIX_MAX_CHARS or not _PREFIX.fullmatch(text) or {".", ".."} & set(text.split("/")):
        raise ValueError(f"{text!r} is no path", 'whole segments, as in "/v1/users"')
    return text.rstrip("/") or "/"


# --- limits, resources, wishes -----------------------------------------------------------------------------


def _limits(table: Table) -> Limits:
    usual = Limits()
    limits = Limits(
        table.get(
            "memory", usual.memory_bytes, lambda v: _size(v, LIMIT_MEMORY_MIN_BYTES, LIMIT_MEMORY_MAX_BYTES)
        ),
        table.get("cpu", usual.cpu_ms, _time_ms),
        table.get("wall", usual.wall_ms, _time_ms),
    )
    table.finish()
    return limits


def _resources(table: Table) -> Resources:
    resources = Resources(
        table.get("cpu", 0, _cpu_millis),
        table.get("memory", 0, lambda value: _size(value, 0, RESOURCE_MEMORY_MAX_BYTES)),
    )
    table.finish()
    return resources


def _size(value: Any, least: int, most: int) -> int:
    """Bytes from ``134217728`` or ``"128MiB"``."""
    size: float
    if isinstance(value, str):
        found = _SIZE.fullmatch(value.strip())
        if not found:
            raise ValueError(f"{value!r} is no size", 'write it like "128MiB" or "1GiB"')
        size = float(found[1]) * _UNITS[found[2]]
    elif isinstance(value, int) and not isinstance(value, bool):
        size = value
    else:
        raise ValueError(f"must be a size, not {kind_of(value)}", 'write it like "128MiB"')
    if not least <= size <= most:
        raise ValueError(f"{value!r} is out of range", f"from {size_text(least)} to {size_text(most)}")
    return int(size)


def size_text(size_bytes: int) -> str:
    """Bytes for people: ``128 MiB``, ``6.2 KiB``."""
    unit = next((unit for unit, size in reversed(_BINARY.items()) if size_bytes >= size), "B")
    return f"{size_bytes / _BINARY[unit]:.1f}".removesuffix(".0") + f" {unit}"


def _time_ms(value: Any) -> int:
    """Milliseconds from ``"30s"``, ``"500ms"``, ``"2min"``."""
    if not isinstance(value, str):
        hint = f'write "{value}s" or "{value}ms"' if isinstance(value, int) else 'write it like "30s"'
        raise ValueError(f"must be a time, not {kind_of(value)}", hint)
    found = _TIME.fullmatch(value.strip())
    if not found:
        raise ValueError(f"{value!r} is no time", 'write it like "30s", "500ms" or "2min"')
    time_ms = float(found[1]) * _TIMES_MS[found[2]]
    if not 1 <= time_ms <= LIMIT_TIME_MAX_MS:
        raise ValueError(f"{value!r} is out of range", "from 1ms to 1h")
    return int(time_ms)


def _idle_s(value: Any) -> int:
    """Seconds; 0 for ``"never"``. Copies are looked at once a second."""
    return 0 if value == IDLE_NEVER else _seconds(value, IDLE_MIN_S, IDLE_MAX_S, f', or "{IDLE_NEVER}"')


def _seconds(value: Any, least: int, most: int, or_else: str = "") -> int:
    """Whole seconds from ``"60s"``, ``"5min"``."""
    hint = f"from {least}s to {most // 3600}h{or_else}"
    found = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        raise ValueError(f"must be a time, not {value!r}", f'write it like "60s" or "5min"{or_else}')
    time_ms = float(found[1]) * _TIMES_MS[found[2]]
    if not least * 1000 <= time_ms <= most * 1000 or time_ms % 1000:
        why = "is no whole number of seconds" if time_ms % 1000 else "is out of range"
        raise ValueError(f"{value!r} {why}", hint)
    return int(time_ms // 1000)


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _not_after_s(value: Any) -> int:
    """Seconds since 1970, rounded down, from TOML's date and time or the same as text."""
    hint = "a date and a time with its offset: 2030-01-31T18:00:00Z"
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError(f"{value!r} is no moment", hint) from None
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ValueError(f"must be a moment, not {value}", hint)
    seconds = int(moment.timestamp())
    if seconds <= 0:
        raise ValueError(f"{value} is before 1970", hint)
    return seconds


def _scale(table: Table) -> Scale:
    """How many copies. Without ``max`` it is ``min``, at least 1."""
    least = table.get("min", 0, lambda value: _whole(value, 0, SLOTS_MAX))
    most = table.get("max", max(1, least), lambda value: _whole(value, 1, SLOTS_MAX))
    concurrency = table.get("concurrency", 0, lambda value: _whole(value, 1, CONCURRENCY_MAX))
    if least > most:
        table.wrong("min", f"is {least}, and max is {most}", "raise max, or lower min")
    elif most > max(1, least) and not concurrency and not table.problems:
        what = f"is {most}, but nothing would ask for more than {max(1, least)}"
        table.wrong("max", what, "write concurrency: requests that a copy takes at once")
    elif concurrency and most == max(1, least):
        table.wrong("concurrency", f"has no effect: max is {most}", "raise max, or leave it out")
    table.finish()
    return Scale(least, most, concurrency)


def _whole(value: Any, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"must be a whole number, not {kind_of(value)}", f"from {least} to {most}")
    if not least <= value <= most:
        raise ValueError(f"{value} is out of range", f"from {least} to {most}")
    return value


def _cpu_millis(value: Any) -> int:
    if isinstance(value, str):
        raise ValueError(f"must be a number of cores, not {value!r}", "write it like 0.5")
    cores = a_number(value)
    if not 0 <= cores <= RESOURCE_CPU_MAX:
        raise ValueError(f"{cores:g} is out of range", f"cores, from 0 to {RESOURCE_CPU_MAX}")
    return round(cores * 1000)


def _wishes(table: Table, name: str) -> Wishes:
    wishes = Wishes(
        _distinct(table, "prefer", table.each("prefer", _wish)),
        _distinct(table, "require", table.each("require", _wish)),
        table.get("spread", False, a_boolean),
        table.get("near", "", lambda value: _other(value, name)),
        table.get("away", "", lambda value: _other(value, name)),
    )
    for key in ("zone=", "arch="):
        wanted = [wish for wish in wishes.require if wish.startswith(key)]
        if len(wanted) > 1:
            table.wrong("require", f"asks for {' and '.join(wanted)}", "no node has both; prefer them instead")
    if wishes.near and wishes.near == wishes.away:
        table.wrong("away", f"is {wishes.away!r}, which it also wants to be near to", "leave one out")
    table.finish()
    return wishes


def _wish(value: Any) -> str:
    text = a_text(value)
    key, equals, rest = text.rpartition("=")
    if equals and key not in ("zone", "arch"):
        raise ValueError(f"has {text!r}", "write a tag, zone=ZONE or arch=ARCH")
    if key == "arch":
        if not re.fullmatch(r"[a-z0-9_]{1,32}", rest):
            raise ValueError(f"has {text!r}", "an architecture is written like x86_64 or aarch64")
        return text
    return f"{key}{equals}{a_label(rest)}"


def _other(value: Any, name: str) -> str:
    other = a_label(value)
    if other == name:
        raise ValueError("names this capsule itself", "spread = true keeps copies apart")
    return other


def _distinct(table: Table, key: str, items: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({item for item in items if items.count(item) > 1})
    if twice:
        table.wrong(key, f"names {', '.join(twice)} twice", "leave one out")
    return tuple(dict.fromkeys(items))
