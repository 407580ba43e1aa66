"""Blobs: fetched, verified, gone on with, refused."""

import hashlib
import os
import signal
from pathlib import Path

import pytest

from falak import _native as native

from .conftest import MakeNode, MakePeer, Node

MIB = 1 << 20
SPARSE_BYTES = 192 * MIB
SPARSE_DIGEST = hashlib.sha256(bytes(SPARSE_BYTES)).hexdigest()


def put(folder: Path, data: bytes, name: str = "") -> str:
    digest = name or hashlib.sha256(data).hexdigest()
    (folder / digest).write_bytes(data)
    return digest


def sparse(folder: Path) -> str:
    """A blob that is large enough for something to happen while it is copied."""
    with (folder / SPARSE_DIGEST).open("wb") as file:
        file.truncate(SPARSE_BYTES)
    return SPARSE_DIGEST


def fetch(node: Node, peer: str, digest: str, size: int, path: Path, within_s: float = 5.0) -> tuple[bool, str]:
    """Fetch and wait for the end: whether it is there, and why not."""
    token = next(node.tokens)
    node.mesh.fetch(token, peer, digest, size, str(path))
    _, ok, size_bytes, why = node.wait(native.FETCHED, token, within_s=within_s)
    assert size_bytes == (size if ok else 0)
    return ok, why


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1, 9 * MIB])
def test_a_blob_is_copied_and_verified(pair: tuple[Node, Node], tmp_path: Path, size: int) -> None:
    one, two = pair
    data = os.urandom(size)
    digest = put(two.blobs, data)
    assert fetch(one, two.id, digest, size, tmp_path / "copy") == (True, "")
    assert (tmp_path / "copy").read_bytes() == data
    assert not (tmp_path / "copy.part").exists()
    assert one.mesh.counters()["blob_bytes_in"] == two.mesh.counters()["blob_bytes_out"] == size


def test_missing_and_unreachable(pair: tuple[Node, Node], tmp_path: Path) -> None:
    one, two = pair
    digest = hashlib.sha256(b"nowhere").hexdigest()
    assert fetch(one, two.id, digest, 7, tmp_path / "a") == (False, "the peer does not have it")
    stranger = native.peer_id(bytes(32))
    assert fetch(one, stranger, digest, 7, tmp_path / "b") == (False, "not connected")
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()


def test_corrupt_bytes_leave_nothing(pair: tuple[Node, Node], tmp_path: Path) -> None:
    one, two = pair
    digest = put(two.blobs, b"c0rrupt", hashlib.sha256(b"correct").hexdigest())
    ok, why = fetch(one, two.id, digest, 7, tmp_path / "copy")
    assert not ok and "do not have the digest" in why
    assert not (tmp_path / "copy").exists() and not (tmp_path / "copy.part").exists()
    put(two.blobs, b"correct")
    assert fetch(one, two.id, digest, 7, tmp_path / "copy") == (True, "")


def test_another_size_is_refused_before_a_byte(pair: tuple[Node, Node], tmp_path: Path) -> None:
    one, two = pair
    digest = put(two.blobs, b"1234567")
    assert fetch(one, two.id, digest, 8, tmp_path / "copy") == (False, "the peer's has 7 bytes, not 8")
    assert one.mesh.counters()["blob_bytes_in"] == 0


def test_a_half_fetched_blob_is_gone_on_with(pair: tuple[Node, Node], tmp_path: Path) -> None:
    one, two = pair
    data = os.urandom(MIB)
    digest = put(two.blobs, data)
    (tmp_path / "copy.part").write_bytes(data[: MIB // 2])
    assert fetch(one, two.id, digest, MIB, tmp_path / "copy") == (True, "")
    assert (tmp_path / "copy").read_bytes() == data
    assert one.mesh.counters()["blob_bytes_in"] == MIB // 2
    (tmp_path / "late.part").write_bytes(data)  # all was there but its name
    assert fetch(one, two.id, digest, MIB, tmp_path / "late") == (True, "")
    assert one.mesh.counters()["blob_bytes_in"] == MIB // 2


def test_a_poisoned_rest_fails_once(pair: tuple[Node, Node], tmp_path: Path) -> None:
    one, two = pair
    digest = put(two.blobs, b"good bytes")
    (tmp_path / "copy.part").write_bytes(b"bad ")
    assert not fetch(one, two.id, digest, 10, tmp_path / "copy")[0]
    assert fetch(one, two.id, digest, 10, tmp_path / "copy") == (True, "")


def test_a_stopped_peer_fails_the_fetch_and_a_later_one_goes_on(
    make_node: MakeNode, make_peer: MakePeer, tmp_path: Path
) -> None:
    one, peer = make_node(settings={"blob_idle_ms": 300}), make_peer()
    peer.link(one)
    digest, size = sparse(tmp_path / "peer0"), SPARSE_BYTES
    one.mesh.fetch(1, peer.id, digest, size, str(tmp_path / "copy"))
    one.count_until("blob_bytes_in", MIB)
    peer.signal(signal.SIGSTOP)
    assert one.wait(native.FETCHED, 1) == (1, False, 0, "no byte moved for 300 ms")
    have = (tmp_path / "copy.part").stat().st_size
    assert 0 < have < size
    peer.signal(signal.SIGCONT)
    before = one.mesh.counters()["blob_bytes_in"]
    assert fetch(one, peer.id, digest, size, tmp_path / "copy", within_s=30) == (True, "")
    assert one.mesh.counters()["blob_bytes_in"] - before == size - have


def test_a_closing_peer_fails_the_fetch(pair: tuple[Node, Node], tmp_path: Path) -> None:
    one, two = pair
    one.mesh.fetch(1, two.id, sparse(two.blobs), SPARSE_BYTES, str(tmp_path / "copy"))
    one.count_until("blob_bytes_in", MIB)
    two.mesh.close()
    assert one.wait(native.FETCHED, 1)[1] is False


@pytest.mark.parametrize("digest", ["", "ab", "../" * 21 + "a", "G" * 64, "A" * 64, "0" * 63 + "\0"])
def test_what_is_no_digest(make_node: MakeNode, tmp_path: Path, digest: str) -> None:
    one = make_node()
    with pytest.raises(ValueError, match="is no digest"):
        one.mesh.fetch(1, one.id, digest, 1, str(tmp_path / "copy"))


def test_only_files_of_the_folder_are_served(pair: tuple[Node, Node], tmp_path: Path) -> None:
    one, two = pair
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (two.blobs / ("1" * 64)).symlink_to(secret)
    (two.blobs / ("2" * 64)).mkdir()
    os.mkfifo(two.blobs / ("3" * 64))
    for name in "123":
        assert fetch(one, two.id, name * 64, 6, tmp_path / "copy") == (False, "the peer does not have it")


def test_one_target_is_fetched_once_at_a_time(make_node: MakeNode, make_peer: MakePeer, tmp_path: Path) -> None:
    one, peer = make_node(settings={"blob_idle_ms": 300}), make_peer()
    peer.link(one)
    peer.signal(signal.SIGSTOP)
    path = str(tmp_path / "copy")
    one.mesh.fetch(1, peer.id, "0" * 64, 1, path)
    one.mesh.fetch(2, peer.id, "0" * 64, 1, path)
    assert one.wait(native.FETCHED) == (2, False, 0, f"{path} is being fetched already")
    assert one.wait(native.FETCHED)[0] == 1


def test_a_path_that_cannot_be_written(pair: tuple[Node, Node], tmp_path: Path) -> None:
    one, two = pair
    digest = put(two.blobs, b"1234567")
    ok, why = fetch(one, two.id, digest, 7, tmp_path / "no" / "folder")
    assert not ok and "cannot write" in why and "no/folder.part" in why


def test_a_peer_takes_at_most_half_of_what_is_served_at_once(make_node: MakeNode, tmp_path: Path) -> None:
    server = make_node(settings={"blob_concurrent": 2})
    one, two = make_node(), make_node()
    one.dial(server)
    two.dial(server)
    digest = put(server.blobs, b"small")
    one.mesh.fetch(1, server.id, sparse(server.blobs), SPARSE_BYTES, str(tmp_path / "big"))
    one.count_until("blob_bytes_in", 1)
    assert fetch(one, server.id, digest, 5, tmp_path / "a") == (False, "the peer serves too many already")
    assert fetch(two, server.id, digest, 5, tmp_path / "b") == (True, "")
    assert one.none_of(native.FETCHED, 0), "the first was still running"
    assert one.wait(native.FETCHED)[:2] == (1, True)
    assert fetch(one, server.id, digest, 5, tmp_path / "a") == (True, "")
