"""``launch``, ``withdraw`` and ``call``: publish a capsule, take it back, and ask one something over HTTP.

``launch`` is done when the capsule was kept by others and answered, or says why not; what is wrong with a
manifest is told here, before a node is asked. ``call`` goes through the node's own gateway, as any stranger.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from falak.cli.options import add_data, client_of, reachable
from falak.cli.output import waiting
from falak.cli.parser import Parser
from falak.errors import FAILED, USAGE, OperatorError

if TYPE_CHECKING:
    from falak.client.shapes import Launched

CALL_IDLE_S: Final = 60.0
"""A call that gets no byte for this long is given up. Above the longest parking and the usual wall limit."""
CHUNK_BYTES: Final = 64 * 1024
NEXT: Final = {
    "": "the file to be checked and compiled",
    "taken": "the component to be checked",
    "checked": "two others to keep it",
    "kept": "its first answer",
    "called": "the end of the launch",
}
"""What is waited for after each stage of a launch."""


def launch_arguments(parser: Parser) -> None:
    """What ``launch`` takes."""
    parser.add_place("what", "A folder with capsule.toml, that file, or a component (.wasm).")
    parser.add_argument("--name", help="The capsule's name; of a .wasm file else the file's.")
    parser.add_argument("--orbit", help="Its orbit; of a .wasm file else default.")
    parser.add_argument(
        "--call", action="store_true", default=True, help="It must answer before this is done: usual."
    )
    parser.add_argument("--no-call", dest="call", action="store_false", help="Leave it cold.")
    parser.add_argument(
        "--rollback",
        action="store_true",
        help="WHAT is a capsule's name: publish its generation before the newest once more.",
    )
    add_data(parser)


def launch(
    what: str, name: str | None, orbit: str | None, call: bool, rollback: bool, data: Path | None
) -> None:
    """Publish a capsule: from a folder with capsule.toml, or a .wasm file.

    Done when others keep it and it has answered a request. Exit 4: it is published, but did not answer.
    """
    from falak.client.words import stage_text  # noqa: PLC0415  call does not need it

    if rollback:
        _roll_back(what, name or orbit, data)
        return
    fields, component = _manifest(Path(what), name, orbit)
    client = client_of(data)
    with client.launch(component, fields, call=call) as stream:
        stages = iter(stream)
        done = ""
        while True:
            with waiting(NEXT.get(done, "the next stage")):
                stage = next(stages, None)
            if stage is None:
                break
            done = stage["stage"]
            print(stage_text(stage), flush=True)
        launched = stream.result
    print(_told(launched))
    print(f"try: curl -H 'Host: {launched['name']}.localhost' http://{reachable(client.node()['http'])}/")


def _roll_back(name: str, flag: str | None, data: Path | None) -> None:
    if flag:
        raise OperatorError("a rollback changes neither name nor orbit", "leave --name and --orbit out", USAGE)
    with waiting("two others to keep it"):
        done = client_of(data).rollback(name)
    kept = " ".join(done["keepers"]) or "this node alone"
    print(f"{name} generation {done['generation']} orbits, with version {done['version']}; kept by {kept}")


def withdraw_arguments(parser: Parser) -> None:
    """What ``withdraw`` takes."""
    parser.add_place("capsule", "The capsule's name.")
    add_data(parser)


def withdraw(capsule: str, data: Path | None) -> None:
    """Take a capsule out of its orbit for good.

    Done when its tombstone is kept by others and no node runs it any more; exit 1 names those that still do.
    """
    with waiting("every holder to drain"):
        done = client_of(data).withdraw(capsule)
    drained = f", drained at {' '.join(done['drained'])}" if done["drained"] else ", it ran nowhere"
    news = "" if done["changed"] else " (it was before)"
    print(f"{capsule} is withdrawn{news}{drained}")


def _manifest(what: Path, name: str | None, orbit: str | None) -> tuple[dict[str, Any], Path]:
    """Fields and component. Flags win over a manifest."""
    from falak.manifest import from_fields, load  # noqa: PLC0415  call does not need it

    flags = {key: value for key, value in (("name", name), ("orbit", orbit)) if value is not None}
    if what.is_dir() or what.suffix == ".toml":
        capsule, component = load(what)
        return from_fields(capsule.to_fields() | flags, "command line").to_fields(), component
    if not what.is_file():
        raise OperatorError(
            f"{what}: no such file or folder", "give a .wasm file, or a folder with capsule.toml", USAGE
        )
    named = re.sub(r"[^a-z0-9]+", "-", what.stem.lower()).strip("-")
    return from_fields({"name": named, **flags}, "command line").to_fields(), what


def _told(launched: Launched) -> str:
    name, generation = launched["name"], launched["generation"]
    news = "" if launched["changed"] else " (nothing new: the same was published before)"
    answered = launched["answered"]
    if answered is None:
        return f"{name} generation {generation} orbits, cold{news}"
    told = f"{answered['status']} in {answered['ms']:.1f} ms"
    return f"{name} generation {generation} orbits and answers{news}: {told}"


def call_arguments(parser: Parser) -> None:
    """What ``call`` takes."""
    parser.add_place("capsule", "The capsule's name.")
    parser.add_place("path", "Path and query; usual: /.", "/")
    parser.add_argument("--method", "-X", help="GET, or POST with a body.")
    parser.add_argument(
        "--header", "-H", action="append", default=[], metavar="LINE", help='"Name: value"; repeatable.'
    )
    parser.add_argument("--body", "-d", help="The body: text, or @FILE.")
    add_data(parser)


def call(
    capsule: str, path: str, method: str | None, header: Sequence[str], body: str | None, data: Path | None
) -> int:
    """Send a capsule an HTTP request through this node.

    The body of the answer goes to stdout, a status other than 2xx to stderr; 400 and above exit with 1.
    """
    from http.client import HTTPConnection  # noqa: PLC0415  24 ms, only here

    path = path if path.startswith("/") else f"/{path}"
    headers = _headers(capsule, header)
    content = _body(body)
    address = reachable(client_of(data).node()["http"])
    host, _, port = address.rpartition(":")
    connection = HTTPConnection(host.strip("[]"), int(port), timeout=CALL_IDLE_S)
    with waiting(f"{capsule} to answer"), _http_errors(capsule, address):
        connection.putrequest(method or ("GET" if content is None else "POST"), path, skip_host=True)
        for key, value in headers:
            connection.putheader(key, value)
        if content is not None:
            connection.putheader("Content-Length", str(len(content)))
        with suppress(BrokenPipeError):  # refused before it was read: the answer says why
            connection.endheaders(content)
        response = connection.getresponse()
    while True:
        with _http_errors(capsule, address):
            chunk = response.read1(CHUNK_BYTES)
        if not chunk:
            break
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    connection.close()
    if not 200 <= response.status < 300:
        print(f"HTTP {response.status} {response.reason}", file=sys.stderr)
    return FAILED if response.status >= 400 else 0


@contextmanager
def _http_errors(capsule: str, address: str) -> Iterator[None]:
    from http.client import HTTPException, InvalidURL  # noqa: PLC0415

    try:
        yield
    except TimeoutError as error:
        why = f"{capsule} sent nothing for {CALL_IDLE_S:g} s"
        raise OperatorError(why, f"see: falak logs {capsule}; falak why {capsule}") from error
    except (ValueError, InvalidURL) as error:
        raise OperatorError(f"{capsule} cannot be asked that: {error}", "", USAGE) from error
    except (OSError, HTTPException) as error:
        why = str(error) or type(error).__name__
        raise OperatorError(f"the gateway at {address} broke off: {why}", "is the node still there?") from error


def _headers(capsule: str, written: Sequence[str]) -> list[tuple[str, str]]:
    headers = []
    for line in written:
        key, colon, value = line.partition(":")
        if not colon or not key.strip():
            raise OperatorError(f"{line!r} is no header", 'write --header "Name: value"', USAGE)
        headers.append((key.strip(), value.strip()))
    if not any(key.lower() == "host" for key, _ in headers):
        headers.insert(0, ("Host", f"{capsule}.localhost"))
    return headers


def _body(written: str | None) -> bytes | None:
    if written is None or not written.startswith("@"):
        return None if written is None else written.encode()
    try:
        return Path(written[1:]).read_bytes()
    except OSError as error:
        raise OperatorError(f"{written[1:]} cannot be read: {error.strerror}", "", USAGE) from error
