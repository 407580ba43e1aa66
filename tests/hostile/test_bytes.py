"""Bytes that are no message of the protocol: each is refused with one of a few words; nothing else is raised.

Whatever escaped here would end the loop's round in which it came, and with it other peers' messages.
"""

from __future__ import annotations

import random
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from falak import _native as native
from falak.core import events as ev
from falak.core import wire
from falak.core.model import Record, Route, SignedRecord, encode_record
from falak.seam import Reader

REASONS = {"oversize", "malformed", "version", "kind", "body"}
DEEP = b"\x91" * 100_000 + b"\x90"
HUGE_ARRAY = b"\xdd\xff\xff\xff\xff"
NOT_TEXT = b"\xa2\xff\xfe"
ODD = {
    "nothing": (b"", "malformed"),
    "a number": (b"\x01", "malformed"),
    "two of three": (b"\x92\x01\x05", "malformed"),
    "four of three": (b"\x94\x01\x05\x90\x90", "malformed"),
    "something behind": (b"\x93\x01\x08\x91\x01" + b"more", "malformed"),
    "a map": (b"\x83\x01\x02\x03\x04\x05\x06", "malformed"),
    "text as the kind": (b"\x93\x01\xa1x\x90", "malformed"),
    "deep": (DEEP, "malformed"),
    "deep inside": (b"\x93\x01\x05" + DEEP, "malformed"),
    "deep inside a field": (b"\x93\x01\x05\x92\x01" + DEEP, "malformed"),
    "an array that is not there": (b"\x93\x01\x03\x91" + HUGE_ARRAY, "malformed"),
    "version 0": (b"\x93\x00\x08\x91\x01", "version"),
    "version 2": (b"\x93\x02\x08\x91\x01", "version"),
    "kind 0": (b"\x93\x01\x00\x90", "kind"),
    "kind 99": (b"\x93\x01\x63\x90", "kind"),
    "kind -1": (b"\x93\x01\xff\x90", "kind"),
    "kind above 64 bits": (b"\x93\x01\xcf" + b"\xff" * 8 + b"\x90", "kind"),
    "a body that is text": (b"\x93\x01\x08\xa1x", "body"),
    "a body without its fields": (b"\x93\x01\x08\x90", "body"),
    "text where a number belongs": (b"\x93\x01\x08\x91\xa1x", "body"),
    "text that is not UTF-8": (b"\x93\x01\x17\x92" + NOT_TEXT + b"\xa1c", "body"),
    "too long": (b"\x93\x01\x08\x91\xc6\x00\x20\x00\x00" + bytes(2 << 20), "oversize"),
}
POOL_INTS = (0, 1, 2, 3, 1000, 2**16 + 1, 2**31, 2**47)
ODD_INTS = (-1, 2**63 - 1, -(2**63), 2**64 - 1)
POOL_TEXTS = ("", "a", "host/h.test", "x" * 63, "\u00fc" * 8)


def made(shape: Any, rng: random.Random, texts: Sequence[str] = POOL_TEXTS) -> Any:
    """A value of a type as messages use them, from small pools of what breaks things."""
    arguments = typing.get_args(shape)
    if isinstance(shape, types.UnionType):
        return made(rng.choice(arguments), rng, texts)
    if typing.get_origin(shape) is tuple:
        if arguments[-1] is Ellipsis:
            return tuple(made(arguments[0], rng, texts) for _ in range(rng.choice((0, 1, 3))))
        return tuple(made(argument, rng, texts) for argument in arguments)
    if typing.get_origin(shape) is typing.Literal:
        return rng.choice(arguments)
    if shape is int:
        return rng.choice(POOL_INTS if rng.random() < 0.97 else ODD_INTS)
    if shape is str:
        return rng.choice(texts)
    if shape is bytes:
        return rng.randbytes(16)
    if shape is bool:
        return rng.random() < 0.5
    if shape is type(None):
        return None
    hints = typing.get_type_hints(shape)
    return shape(*(made(hints[name], rng, texts) for name in shape.__struct_fields__))


def messages(seed: int, texts: Sequence[str] = POOL_TEXTS) -> Iterator[wire.Message]:
    """One message of each kind."""
    rng = random.Random(seed)
    for _, shape in sorted(wire.KINDS.items()):
        yield made(shape, rng, texts)


def refused(data: bytes) -> str:
    """Why ``data`` is no message; "" when it is one. Anything else that is raised fails the test."""
    try:
        wire.decode(data)
    except wire.Unreadable as error:
        assert error.reason in REASONS
        return error.reason
    return ""


@pytest.mark.parametrize("name", ODD)
def test_odd_bytes_are_refused_with_a_reason(name: str) -> None:
    data, reason = ODD[name]
    assert refused(data) == reason


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    refused(data)


@given(st.integers(0, 2**32), st.data())
def test_any_message_with_bytes_changed(seed: int, data: st.DataObject) -> None:
    for message in messages(seed):
        whole = bytearray(wire.encode(message))
        for _ in range(data.draw(st.integers(1, 3))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        refused(bytes(whole))
        refused(bytes(whole[: len(whole) // 2]))


# --- records: bytes inside bytes, signed by whoever likes to ----------------------------------------------

KEY = bytes(range(32))
ME = native.peer_id(KEY)
SOUND = Record("name", 1, "1", "default")


def signed(data: bytes) -> SignedRecord:
    return SignedRecord(data, ME, native.sign(KEY, data))


RECORDS = {
    "bad signature": (SignedRecord(encode_record(SOUND), ME, bytes(64)), "record_signature"),
    "signature of another length": (SignedRecord(encode_record(SOUND), ME, b"x"), "record_signature"),
    "a publisher that is none": (SignedRecord(encode_record(SOUND), "nobody", bytes(64)), "record_signature"),
    "nothing": (signed(b""), "record_unreadable"),
    "deep": (signed(DEEP[-5000:]), "record_unreadable"),
    "a name that is not UTF-8": (signed(b"\x94" + NOT_TEXT + b"\x01\xa1v\xa1o"), "record_unreadable"),
    "a name that is a path": (signed(encode_record(Record("../x", 1, "1", "default"))), "record_unsound"),
    "no name": (signed(encode_record(Record("", 1, "1", "default"))), "record_unsound"),
    "another capsule's own host": (
        signed(encode_record(Record("name", 1, "1", "default", routes=(Route("other.localhost"),)))),
        "record_unsound",
    ),
    "a generation below zero": (signed(encode_record(Record("name", -1, "1", "default"))), "record_unreadable"),
}


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("wrap", [wire.Announce, wire.Keep, lambda record: wire.Records((record,))])
def test_a_record_that_is_none_is_dropped_and_counted(name: str, wrap: Any) -> None:
    record, reason = RECORDS[name]
    reader = Reader(ME)
    assert reader.read((native.MESSAGE, "peer", wire.encode(wrap(record)))) is None
    assert dict(reader.refused) == {reason: 1}


def test_odd_bytes_are_counted_by_their_reason() -> None:
    reader = Reader(ME)
    for data, reason in ODD.values():
        told = reader.read((native.MESSAGE, "peer", data))
        assert told is None or (reason == "version" and isinstance(told, ev.OtherVersion))
        assert reader.read((native.GOSSIP, "/falak/1/heartbeat/main", "source", "via", data)) is None
    assert set(reader.refused) == {f"message_{reason}" for reason in REASONS}
    assert sum(reader.refused.values()) == 2 * len(ODD)


def test_what_msgspec_raises_is_still_known() -> None:
    """The list in the code is of exceptions that msgspec raises: should it grow, this says so."""
    assert issubclass(msgspec.ValidationError, msgspec.DecodeError)
    with pytest.raises(UnicodeDecodeError):
        msgspec.msgpack.decode(NOT_TEXT)
    with pytest.raises(RecursionError):
        msgspec.msgpack.decode(DEEP)
