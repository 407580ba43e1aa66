"""Artifacts by digest, what a node advertises and dials, and the bookkeeping around commands to native."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("falak._native", reason="the extension is not built: `make build`")

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.model import Artifact
from falak.daemon.opening import advertised, contacts, is_wildcard
from falak.gateway.front import Front
from falak.mesh.links import Links
from falak.mesh.tickets import decode_ticket, encode_ticket
from falak.seam import BlobFetched, DialEnded, FramesLost
from falak.snapshots.store import Store

DIGEST = "cd" * 32
ARTIFACT = Artifact(DIGEST, 3, "application/wasm")


class Native:
    """Notes every command; raises ``refusal`` instead when there is one."""

    def __init__(self) -> None:
        self.commands: list[tuple[Any, ...]] = []
        self.refusal: Exception | None = None
        self.written = 0

    def __getattr__(self, name: str) -> Any:
        def command(*arguments: Any) -> None:
            if self.refusal is not None:
                raise self.refusal
            self.commands.append((name, *arguments))

        return command

    def counters(self) -> dict[str, int]:
        return {"frames_out": self.written}


def store(folder: Path) -> Store:
    made = Store(folder / "artifacts")
    made.open()
    return made


def test_digests_are_found_and_unfinished_files_cleared(tmp_path: Path) -> None:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    for name in (DIGEST, "ab" * 32, "README", DIGEST[:-1], f".{DIGEST}.1.tmp"):
        (folder / name).touch()
    assert Store(folder).open() == ("ab" * 32, DIGEST)
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("digest", ["", "x", "../" + DIGEST, DIGEST.upper(), DIGEST + "0"])
def test_no_path_is_made_of_what_is_no_digest(tmp_path: Path, digest: str) -> None:
    with pytest.raises(ValueError):
        store(tmp_path).path(digest)
    told = store(tmp_path).fetch(Native(), ef.Fetch(Artifact(digest, 1, ""), "peer"))  # type: ignore[arg-type]
    assert isinstance(told, ev.Fetched) and "no sha256" in told.why


def test_a_fetch_ends_by_its_token(tmp_path: Path) -> None:
    native, kept = Native(), store(tmp_path)
    assert kept.fetch(native, ef.Fetch(ARTIFACT, "p")) is None  # type: ignore[arg-type]
    ((name, token, peer, digest, size, path),) = native.commands
    assert (name, peer, digest, size, path) == ("fetch", "p", DIGEST, 3, str(kept.path(DIGEST)))
    assert kept.fetched(BlobFetched(token + 1)) is None
    assert kept.fetched(BlobFetched(token, "its digest is another")) == ev.Fetched(
        DIGEST, "p", "its digest is another"
    )
    assert kept.fetched(BlobFetched(token)) is None


def test_what_is_here_is_not_fetched_and_a_full_queue_is_a_failure(tmp_path: Path) -> None:
    native, kept = Native(), store(tmp_path)
    kept.path(DIGEST).touch()
    assert kept.fetch(native, ef.Fetch(ARTIFACT, "p")) == ev.Fetched(DIGEST, "p")  # type: ignore[arg-type]
    native.refusal = BlockingIOError("full")
    other = Artifact("ef" * 32, 3, "")
    told = kept.fetch(native, ef.Fetch(other, "p"))  # type: ignore[arg-type]
    assert told == ev.Fetched("ef" * 32, "p", "full")


def test_a_dial_that_failed_is_told_with_whom_and_where() -> None:
    native = Native()
    links = Links(native)  # type: ignore[arg-type]
    assert links.dial(ef.Dial("p", "/a")) is None
    ((_, token, address),) = native.commands
    assert address == "/a"
    assert links.dial_ended(DialEnded(token, True, "refused")) == ev.DialFailed("p", "/a", True, "refused")
    assert links.dial_ended(DialEnded(token, True, "refused")) is None
    assert links.dial(ef.Dial("", "/b")) is None
    assert links.dial_ended(DialEnded(token + 1, False, "timeout")) == ev.DialFailed("", "/b", False, "timeout")
    assert links.failed == {"/b": "timeout"}
    links.dial(ef.Dial("", "/b"))
    assert links.dial_ended(DialEnded(token + 2)) is None
    assert links.failed == {}
    links.dial(ef.Dial("p", "/a"))
    told = links.dial_ended(DialEnded(token + 3, False, "q answers there", "q"))
    assert told == ev.DialFailed("p", "/a", False, "q answers there", "q")


def test_what_native_does_not_take_is_told() -> None:
    native = Native()
    links = Links(native)  # type: ignore[arg-type]
    native.refusal = ValueError("no multiaddr")
    assert links.dial(ef.Dial("p", "nonsense")) == ev.DialFailed("p", "nonsense", False, "no multiaddr")
    native.refusal = BlockingIOError("full")
    assert links.send(ef.Send("p", wire.Lookup("k", 1))) == ev.Undelivered("p")
    links.gossip(ef.Gossip("t", wire.Goodbye(1, 1)))
    links.hangup(ef.Hangup("p"))
    links.beat(ef.Beat("p", True))
    assert sum(links.counters.values()) == 4


def test_messages_on_their_way_are_known() -> None:
    native = Native()
    links = Links(native)  # type: ignore[arg-type]
    for _ in range(5):
        links.send(ef.Send("p", wire.Lookup("k", 1)))
    native.written = 2
    assert links.unsent() == 3
    assert links.lost(FramesLost("p", 3)) == ev.Undelivered("p")
    assert links.unsent() == 0


def test_endpoints_that_native_did_not_take_are_given_again_in_their_newest_form() -> None:
    async def scene() -> list[tuple[Any, ...]]:
        native = Native()
        front = Front(native, lambda event: None)  # type: ignore[arg-type]
        native.refusal = BlockingIOError("full")
        front.set_routes(ef.SetRoutes((("h", "/", "c"),)))
        front.set_endpoints(ef.SetEndpoints("c", (ef.Endpoint(1, "", 0),)))
        front.set_endpoints(ef.SetEndpoints("c", (ef.Endpoint(1, "", 0), ef.Endpoint(0, "peer", 4))))
        native.refusal = None
        async with asyncio.timeout(5):
            while len(native.commands) < 2:
                await asyncio.sleep(0)
        return native.commands

    assert asyncio.run(scene()) == [
        ("set_routes", (("h", "/", "c"),)),
        ("set_endpoints", "c", [("local", "1", 0), ("node", "peer", 4)], 0),
    ]


def test_what_leads_nowhere_is_not_advertised() -> None:
    assert is_wildcard("/ip4/0.0.0.0/tcp/0") and is_wildcard("/ip6/::/tcp/1")
    assert not is_wildcard("/ip4/127.0.0.1/tcp/0")
    loop, lan = "/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1"
    assert advertised([loop, lan, lan], "me") == (f"{lan}/p2p/me",)
    assert advertised([loop], "me") == (f"{loop}/p2p/me",)


def test_contacts_are_tickets_first_then_the_book_and_never_oneself() -> None:
    ticket = decode_ticket(encode_ticket(bytes(32), ["/a/p2p/x", "/b/p2p/me"]))
    assert contacts([ticket], ["/c/p2p/y", "/a/p2p/x"], "me") == ("/a/p2p/x", "/c/p2p/y")
