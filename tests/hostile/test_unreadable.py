"""Bytes that msgspec cannot read, where a node reads what others may have written: its own files, its socket.

Nesting without end and text that is not UTF-8 raise something else than malformed bytes do.
"""

import asyncio
import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest

from falak.api.server import ControlServer
from falak.core.model import Record, SignedRecord, encode_record
from falak.daemon import opening
from falak.daemon.folder import DataFolder
from falak.errors import OperatorError
from falak.mesh.identity import settle_keys
from falak.seam import peer_id, sign

SEED = bytes(range(32))
JSON: dict[str, bytes] = {
    "deep": b"[" * 100_000,
    "deep and whole": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "deep inside": b'{"v": 1, "op": "launch", "path": "/x", "record": ' + b"[" * 100_000,
    "no UTF-8": b'{"key_seed": "\xff\xfe", "op": "\xff"}',
    "no UTF-8 in a key": b'{"\xff\xfe": 1}',
    "half": b'{"v": 1, "op":',
    "another type": b"[1, 2]",
    "nothing": b"",
}
MSGPACK: dict[str, bytes] = {
    "deep": b"\x91" * 100_000,
    "deep inside": b"\x93" + b"\x91" * 100_000,
    "no UTF-8": b"\x93\xc4\x01x\xa2\xff\xfe\xc4\x01x",
    "half": b"\x93\xc4",
    "another type": b"\x93\x01\x02\x03",
}


def cases(of: dict[str, bytes]) -> Any:
    return pytest.mark.parametrize("data", of.values(), ids=of.keys())


@cases(JSON)
def test_an_identity_file_that_cannot_be_read_is_kept_and_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "identity"
    path.write_bytes(data)
    with pytest.raises(OperatorError, match="identity is damaged") as caught:
        settle_keys(path, [])
    assert "backup" in caught.value.hint and path.read_bytes() == data


@cases(MSGPACK)
@pytest.mark.parametrize("inside", [False, True], ids=["as a whole", "signed"])
def test_a_stored_record_that_cannot_be_read_is_left_out_with_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, inside: bool, data: bytes
) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.open()
    good = encode_record(Record("good", 1, "1", "default"))
    kept = [SignedRecord(data_, peer_id(SEED), sign(SEED, data_)) for data_ in (good, data)]
    folder.write_state("record/good", msgspec.msgpack.encode(kept[0]))
    folder.write_state("record/odd", msgspec.msgpack.encode(kept[1]) if inside else data)
    with caplog.at_level(logging.ERROR):
        stored = opening.stored(folder)
    folder.close()
    assert stored.records == (kept[0],)
    assert [record.getMessage() for record in caplog.records] == ["a stored record cannot be used"]


@pytest.mark.parametrize("name", ["incarnation", "book"])
def test_other_state_that_cannot_be_read_harms_nothing(tmp_path: Path, name: str) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.open()
    folder.write_state(name, b"\xff\xfe\x00")
    stored = opening.stored(folder)
    folder.close()
    assert stored.incarnation == 0 and stored.records == ()


@cases(JSON)
def test_a_request_that_cannot_be_read_is_answered_with_the_reason(tmp_path: Path, data: bytes) -> None:
    async def converse() -> bytes:
        server = ControlServer(None)  # type: ignore[arg-type]  # no operation is reached
        await server.start(tmp_path / "control.sock")
        try:
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "control.sock"))
            writer.write(data + b"\n")
            answer = await asyncio.wait_for(reader.read(), 10.0)
            writer.close()
            return answer
        finally:
            await server.close()

    (line,) = asyncio.run(converse()).splitlines()
    error = msgspec.json.decode(line)["error"]
    assert error["exit"] == 2 and error["what"].startswith("the request is no JSON object"), error
