"""Messages as bytes: what cannot be read is one counted word, and nothing else."""

import msgspec
import pytest

from falak.core import wire
from falak.core.model import Profile, Vote
from falak.core.settings import EPOCH_MAX, GOSSIP_MAX_BYTES, MESSAGE_MAX_BYTES, PROTOCOL_VERSION
from tests.unit.core.rig import claim, profile, record, signed


def reason(data: bytes, limit: int = MESSAGE_MAX_BYTES) -> str:
    with pytest.raises(wire.Unreadable) as raised:
        wire.decode(data, limit)
    return raised.value.reason


def enveloped(version: int, kind: int, body: object) -> bytes:
    return msgspec.msgpack.encode((version, kind, body))


@pytest.mark.parametrize("data", [b"", b"\x00", b"hello", b"\xff" * 64, b"\x93\x01", b"\xc1", b"\x91" * 50_000])
def test_no_message(data: bytes) -> None:
    assert reason(data) == "malformed"


def test_unknown_version_and_unknown_kind() -> None:
    assert reason(enveloped(PROTOCOL_VERSION + 1, 7, (1,))) == "version"
    assert reason(enveloped(PROTOCOL_VERSION, 999, (1,))) == "kind"


def test_ten_megabytes_are_refused_before_they_are_looked_at() -> None:
    assert reason(b"\x00" * 10_000_000) == "oversize"
    assert reason(b"\x00" * (GOSSIP_MAX_BYTES + 1), GOSSIP_MAX_BYTES) == "oversize"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (7, ()),  # a field is missing
        (7, ("now",)),  # another type
        (7, (-1,)),  # a negative count
        (7, (2**64 - 1,)),  # beyond what is counted with
        (37, ("c", 0, EPOCH_MAX + 1, "n1")),  # an epoch that no history reaches
        (36, ("c", 0, 1, (-1, "n1"))),  # a negative epoch within a vote
        (12, ("k" * 1000, 1)),  # a key longer than any name
        (2, ("w" * 100_000,)),  # a reason nobody reads
        (12, (b"\xff\xfe", 1)),  # bytes for text
    ],
)
def test_a_body_that_is_not_what_its_kind_says(kind: int, body: object) -> None:
    assert reason(enveloped(PROTOCOL_VERSION, kind, body)) == "body"


def test_text_that_is_not_utf8() -> None:
    data = wire.encode(wire.Heard("ab", "cause")).replace(b"\xa2ab", b"\xa2\xff\xfe")
    assert reason(data) == "body"


def test_a_newer_nodes_extra_fields_are_ignored() -> None:
    assert wire.decode(enveloped(PROTOCOL_VERSION, 7, (5, "new", [1, 2]))) == wire.Ping(5)


def test_an_older_nodes_missing_last_fields_have_their_defaults() -> None:
    vote = msgspec.to_builtins(Vote(1, "n1"))
    read = wire.decode(enveloped(PROTOCOL_VERSION, 31, ("c", 0, vote)))
    assert read == wire.Saw("c", 0, Vote(1, "n1"), None, False)


def test_every_message_has_one_kind_and_no_kind_is_used_twice() -> None:
    assert len(set(wire.KINDS.values())) == len(wire.KINDS)
    assert set(wire.KINDS.values()) == set(wire.Message.__args__)


def test_kinds_never_change() -> None:
    assert {1: wire.Hello, 5: wire.Heartbeat, 20: wire.Call, 35: wire.Propose, 40: wire.Claimed}.items() <= (
        wire.KINDS.items()
    )


def test_a_full_heartbeat_fits_its_limit() -> None:
    said = profile(
        "n" * 63, orbits=tuple(f"orbit-{i}" for i in range(8)), tags=tuple(f"tag-{i}" for i in range(8))
    )
    assert isinstance(said, Profile) and len(wire.encode(wire.Heartbeat(said, 10**9))) <= 1024


def test_records_in_a_message_are_found_for_verification() -> None:
    one = signed(record("a"))
    assert wire.records_in(wire.Announce(one)) == wire.records_in(wire.Keep(one)) == (one,)
    assert wire.records_in(wire.Records((one, one))) == (one, one)
    assert wire.records_in(wire.Found("a", 1, "a", 1, one)) == (one,)
    assert wire.records_in(wire.Found("a", 1)) == wire.records_in(wire.Outclaimed(claim("a", "n1"))) == ()
