"""The nouns: content addresses, encodings, what is clipped for people."""

import pytest

from falak.core.model import (
    UNREADABLE,
    Record,
    Resources,
    SignedRecord,
    clip,
    content_of,
    decode_record,
    encode_record,
    slot_key,
)
from tests.unit.core.rig import record


def test_a_record_survives_its_encoding() -> None:
    what = record("hello", 3, env=(("A", "b"),), ttl_s=60)
    assert decode_record(encode_record(what)) == what


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x93", encode_record(record("x"))[:-3], b"\x91" * 100_000, b"\x91\xa1\xff"]
)
def test_bytes_that_are_no_record_raise_one_of_a_few(data: bytes) -> None:
    with pytest.raises(UNREADABLE):
        decode_record(data)


def test_a_negative_need_is_no_record() -> None:
    with pytest.raises(UNREADABLE):
        decode_record(encode_record(record("x", resources=Resources(memory_bytes=-1))))


def test_equal_contents_differ_in_generation_only() -> None:
    assert content_of(record("x", 1)) == content_of(record("x", 9))
    assert content_of(record("x", 1)) != content_of(record("x", 1, version="2"))


def test_the_digest_is_of_the_bytes_alone() -> None:
    data = encode_record(record("x"))
    one, other = SignedRecord(data, "n1", b"s"), SignedRecord(data, "n2", b"t")
    assert one.digest == other.digest and len(one.digest) == 16
    assert one.digest != SignedRecord(encode_record(record("x", 2)), "n1", b"s").digest


def test_reasons_for_people_fit_a_message() -> None:
    assert clip("short") == "short"
    assert len(clip("x" * 5000)) == 1000 and clip("x" * 5000).endswith("...")


def test_slots_are_written_alike_everywhere() -> None:
    assert slot_key("hello", 0) == "hello/0"


def test_fields_of_records_come_in_an_order_that_never_changes() -> None:
    first = ("name", "generation", "version", "orbit", "kind", "runtime", "artifacts", "routes", "resources")
    assert Record.__struct_fields__[: len(first)] == first
