"""Every message survives its bytes, and bytes are a message or ``Unreadable``, never anything else."""

import types
import typing
from typing import Annotated, Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from falak.core import wire
from falak.core.model import Record, decode_record, encode_record
from falak.core.settings import GOSSIP_MAX_BYTES

MESSAGES = sorted(typing.get_args(wire.Message), key=lambda cls: cls.__name__)
REASONS = {"oversize", "malformed", "version", "kind", "body"}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type, within its bounds."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        meta = next(m for m in args[1:] if isinstance(m, msgspec.Meta))
        if args[0] is int:
            return st.integers(int(meta.ge or 0), int(meta.le or 0))
        return st.text(max_size=min(meta.max_length or 20, 20))
    if origin is tuple:
        if args[-1] is Ellipsis:
            return st.lists(values(args[0]), max_size=3).map(tuple)
        return st.tuples(*map(values, args))
    if origin is typing.Literal:
        return st.sampled_from(args)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(values, args))
    plain = {
        int: st.integers(0, 2**62),
        str: st.text(max_size=20),
        bytes: st.binary(max_size=40),
        bool: st.booleans(),
    }
    if hint in plain:
        return plain[hint]
    return st.none() if hint is type(None) else structs(hint)


def structs(cls: type[Any]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return st.builds(cls, *(values(hints[name]) for name in cls.__struct_fields__))


@given(st.sampled_from(MESSAGES).flatmap(structs))
def test_every_message_survives_its_bytes(message: wire.Message) -> None:
    data = wire.encode(message)
    assert wire.decode(data) == message
    assert wire.encode(wire.decode(data)) == data


@given(structs(Record))
def test_every_record_survives_its_bytes(record: Record) -> None:
    assert decode_record(encode_record(record)) == record


def read(data: bytes) -> None:
    try:
        wire.decode(data, GOSSIP_MAX_BYTES)
    except wire.Unreadable as unreadable:
        assert unreadable.reason in REASONS


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    read(data)


@given(st.sampled_from(MESSAGES).flatmap(structs), st.data())
def test_any_damage_to_a_message(message: wire.Message, data: st.DataObject) -> None:
    """Cut, flipped, doubled: what comes through is a message again, or is refused."""
    whole = bytearray(wire.encode(message))
    at = data.draw(st.integers(0, len(whole) - 1))
    kind = data.draw(st.sampled_from(["cut", "flip", "insert"]))
    if kind == "cut":
        del whole[at:]
    elif kind == "flip":
        whole[at] ^= data.draw(st.integers(1, 255))
    else:
        whole[at:at] = data.draw(st.binary(min_size=1, max_size=8))
    read(bytes(whole))


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


@given(st.integers(0, 3), st.integers(0, 50), anything)
def test_any_value_in_an_envelope(version: int, kind: int, body: object) -> None:
    read(msgspec.msgpack.encode((version, kind, body)))
