"""What an operator sets: flags over environment over files over defaults. Owns no limit of the core's own.

Files are ``falak.toml`` in the data folder, then in ``/etc/falak``; keys are the flags' names, and a table
``[settings]`` has the core's settings by their names. Every source is read whole, and everything that is wrong
in any of them is told at once. It never touches the network and never makes a folder.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from falak.core.settings import Settings
from falak.errors import USAGE, OperatorError
from falak.tables import Table, WrittenWrong, a_label, a_number, a_text, read_table
from falak.whereabouts import SOCKET_NAME, data_folder

MESH_PORT: Final = 7420
HTTP_PORT: Final = 8420
DEFAULT_LISTEN: Final = f"/ip4/0.0.0.0/tcp/{MESH_PORT}"
DEFAULT_HTTP: Final = f"127.0.0.1:{HTTP_PORT}"
FILE_NAME: Final = "falak.toml"
SYSTEM_FILE: Final = Path("/etc/falak") / FILE_NAME
SOCKET_PATH_MAX_BYTES: Final = 107
"""The kernel's limit for the path of a unix socket."""
LIST_MAX: Final = 16
"""Orbits, tags and tickets of one node, each: they go into every heartbeat, which is at most 1 KiB."""
SETTING_MAX: Final = 1e12
"""No time, size or count of a node is larger."""
TIME_MIN_S: Final = 0.001
"""No time is shorter: timers are not finer."""
LEAST: Final = {"heartbeat_s": 0.1, "start_s": 0.1}
"""A node that does this more often, or gives this less, does nothing else."""
SHARES: Final = frozenset({"hedge_budget", "scale_in_share"})
"""Settings that are at most 1."""
BELOW: Final = {
    "convene_deadline_s": ("call_deadline_s", "the caller is to hear the convener's reason"),
    "claim_unready_s": ("vote_hold_s", "votes protect a copy until it is told of"),
    "redial_first_s": ("redial_max_s", "the first wait is doubled up to the longest"),
    "suspect_least_s": ("suspect_s", "more reports make it shorter"),
    "silent_least_s": ("silent_s", "more reports make it shorter"),
}
"""Settings that must be below another one, and why."""
MAY_BE_ZERO: Final = frozenset({"hedge_budget", "hedge_burst", "vote_silence_s", "look_floor_s"})
"""Settings that zero switches off; every other one has to be above 0."""


class UpOptions(msgspec.Struct, frozen=True):
    """Everything ``falak up`` needs. ``listen`` is a multiaddr, ``http`` is ``HOST:PORT`` (port 0: a free one),
    ``join`` are tickets; with ``ready_file`` the node writes what it is there once it serves."""

    name: str
    data: Path
    listen: str
    http: str
    orbits: tuple[str, ...] = ("default",)
    zone: str = ""
    tags: tuple[str, ...] = ()
    join: tuple[str, ...] = ()
    ready_file: Path | None = None
    settings: Settings = msgspec.field(default_factory=Settings)


class _Key(NamedTuple):
    """One thing to set: how its value is read, and whether it is a list."""

    read: Callable[[Any], str]
    many: bool = False


class _Source(NamedTuple):
    """One place where things are set: its name for people, what it holds, and how it spells a key."""

    where: str
    table: Table
    spell: Callable[[str], str]


_ELSEWHERE = {
    "data": "--data or FALAK_DATA says it: this file is looked for in there",
    "ready-file": "only --ready-file says it",
}


def up_options(
    flags: Mapping[str, Any], environ: Mapping[str, str], system_file: Path = SYSTEM_FILE
) -> UpOptions:
    """All sources together. ``flags`` has the flags that were given by name (``ready_file`` and ``data`` as
    paths, lists as tuples). Raises ``OperatorError`` that tells every problem of every source."""
    data = data_folder(flags.get("data"), environ)
    files = [_Source(str(file), read_table(file), str) for file in _files(data, system_file)]
    sources = [
        _Source("command line", _flag_table(flags), _flag_name),
        _Source("environment", _environment_table(environ), _environment_name),
        *files,
    ]
    found: dict[str, Any] = {}
    for source in sources:
        found = _read(source) | found
    settings: dict[str, float] = {}
    for source in files:
        settings = _settings(source.table.table("settings")) | settings
        source.table.finish(_ELSEWHERE)
    _tell([WrittenWrong(source.where, source.table.problems) for source in sources if source.table.problems])
    _check_socket(data)
    known = Settings(**settings)  # type: ignore[arg-type]  # each was read by its field's type
    _check_relations(known)
    return UpOptions(
        name=found.get("name") or host_label(),
        data=data,
        listen=found.get("listen", DEFAULT_LISTEN),
        http=found.get("http", DEFAULT_HTTP),
        orbits=found.get("orbit") or ("default",),
        zone=found.get("zone", ""),
        tags=found.get("tag", ()),
        join=found.get("join", ()),
        ready_file=_ready_file(flags.get("ready_file")),
        settings=known,
    )


def _files(data: Path, system_file: Path) -> list[Path]:
    return [file for file in (data / FILE_NAME, system_file) if os.path.isfile(file)]


def _flag_name(key: str) -> str:
    return f"--{key}"


def _environment_name(key: str) -> str:
    return f"FALAK_{key.upper()}"


def _flag_table(flags: Mapping[str, Any]) -> Table:
    given = {key: list(value) if isinstance(value, tuple) else value for key, value in flags.items()}
    given = {key: value for key, value in given.items() if key in KEYS and value not in (None, [])}
    return Table({_flag_name(key): value for key, value in given.items()}, {}, [])


def _environment_table(environ: Mapping[str, str]) -> Table:
    """Lists are separated by commas or spaces; an empty variable is none."""
    values: dict[str, Any] = {}
    for key, how in KEYS.items():
        written = environ.get(_environment_name(key), "").strip()
        if written:
            values[_environment_name(key)] = re.split(r"[\s,]+", written) if how.many else written
    return Table(values, {}, [])


def _read(source: _Source) -> dict[str, Any]:
    """What one source says. Keys it does not have are absent."""
    said: dict[str, Any] = {}
    table = source.table
    for key, how in KEYS.items():
        name = source.spell(key)
        if not table.has(name):
            table.asked.append(name)
        elif not how.many:
            said[key] = table.get(name, "", how.read)
        else:
            said[key] = tuple(dict.fromkeys(table.each(name, how.read)))
            if len(said[key]) > LIST_MAX:
                table.wrong(name, f"has {len(said[key])} entries, {LIST_MAX} are the most")
    return said


def _settings(table: Table) -> dict[str, float]:
    read = {
        key: table.get(key, None, partial(_setting, key, usual))
        for key, usual in ((name, getattr(Settings(), name)) for name in Settings.__annotations__)
    }
    table.finish()
    return {key: value for key, value in read.items() if value is not None}


def _setting(key: str, usual: float, value: Any) -> float | None:
    number = a_number(value)
    if isinstance(usual, int) and isinstance(number, float):
        raise ValueError(f"must be a whole number, not {number:g}")
    if number > SETTING_MAX:
        raise ValueError("is out of range", f"at most {SETTING_MAX:g}")
    if number < 0 or (number == 0 and key not in MAY_BE_ZERO):
        raise ValueError(f"must be above 0, not {number:g}", f"usual: {usual:g}")
    least = LEAST.get(key, TIME_MIN_S if key.endswith("_s") and number else 0)
    if number < least:
        raise ValueError(f"must be at least {least:g}, not {number:g}", f"usual: {usual:g}")
    if key in SHARES and number > 1:
        raise ValueError(f"is a share: at most 1, not {number:g}", f"usual: {usual:g}")
    return number if isinstance(usual, int) else float(number)


def _check_relations(settings: Settings) -> None:
    wrong = [
        f"settings.{key} ({getattr(settings, key):g}) must be below settings.{other} "
        f"({getattr(settings, other):g}): {why}"
        for key, (other, why) in BELOW.items()
        if getattr(settings, key) >= getattr(settings, other)
    ]
    if wrong:
        raise OperatorError("\n".join(wrong), "write both in [settings] of one file", USAGE)


def _ready_file(written: Path | None) -> Path | None:
    """The path, in a folder that is there: better known now than when the node stands."""
    if written is None:
        return None
    path = written.expanduser().absolute()
    if not path.parent.is_dir():
        raise OperatorError(
            f"--ready-file {written}: there is no folder {path.parent}", "make it, or choose another", USAGE
        )
    return path


def _tell(wrong: list[WrittenWrong]) -> None:
    if wrong:
        raise OperatorError("\n".join(str(one) for one in wrong), exit=USAGE)


def _check_socket(data: Path) -> None:
    length = len(os.fsencode(data / SOCKET_NAME))
    if length > SOCKET_PATH_MAX_BYTES:
        raise OperatorError(
            f"the data folder's path is too long: {data / SOCKET_NAME} takes {length} bytes, a unix socket "
            f"may have {SOCKET_PATH_MAX_BYTES}",
            "choose a shorter one with --data",
            USAGE,
        )


def host_label() -> str:
    """This machine's name as a node's name."""
    label = re.sub(r"[^a-z0-9]+", "-", socket.gethostname().split(".")[0].lower())[:63].strip("-")
    return label or "node"


# --- reading one value ---------------------------------------------------------------------------------------


def _an_address(value: Any) -> str:
    """``HOST:PORT``, the host an IP address; ``localhost`` is 127.0.0.1."""
    text = a_text(value)
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host[:1] == "[" and host[-1:] == "]" else host
    bare = "127.0.0.1" if bare == "localhost" else bare
    try:
        address = ipaddress.ip_address(bare)
    except ValueError as error:
        raise ValueError(f"{text!r} is no IP:PORT", f'write it like "{DEFAULT_HTTP}" or "[::1]:0"') from error
    if (address.version == 6) != (host[:1] == "["):
        raise ValueError(f"{text!r}: an IPv6 address needs brackets", 'write it like "[::1]:0"')
    shown = f"[{address}]" if address.version == 6 else str(address)
    return f"{shown}:{_port(port, text)}"


def _a_multiaddr(value: Any) -> str:
    """``/ip4/ADDRESS/tcp/PORT`` or ``/ip6/…``."""
    text = a_text(value)
    try:
        nothing, family, host, tcp, port = text.split("/")
        address = ipaddress.ip_address(host)
        if (nothing, family, tcp) != ("", f"ip{address.version}", "tcp") or not port:
            raise ValueError
    except ValueError:
        raise ValueError(f"{text!r} is no address to listen on", f'write it like "{DEFAULT_LISTEN}"') from None
    return f"/{family}/{address}/tcp/{_port(port, text)}"


def _port(port: str, text: str) -> int:
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 65536):
        raise ValueError(f"{text!r} has no port", "0 to 65535; 0 takes a free one")
    return int(port)


def _a_ticket(value: Any) -> str:
    text = a_text(value).strip()
    if not text or re.search(r"\s", text):
        raise ValueError(
            "has a ticket that is empty or has spaces in it", "`falak ticket` on a node prints one"
        )
    return text


KEYS: Final = {
    "name": _Key(a_label),
    "listen": _Key(_a_multiaddr),
    "http": _Key(_an_address),
    "orbit": _Key(a_label, many=True),
    "zone": _Key(a_label),
    "tag": _Key(a_label, many=True),
    "join": _Key(_a_ticket, many=True),
}
"""What files and environment may set, by the flags' names (``FALAK_`` and capitals in the environment)."""
