"""The seam: native tuples as events, and strangers' bytes that never get through it."""

from typing import Any

import msgspec
import pytest

native: Any = pytest.importorskip("falak._native", reason="the extension is not built: `make build`")

from falak import seam  # noqa: E402
from falak.core import events as ev  # noqa: E402
from falak.core import wire  # noqa: E402
from falak.core.model import (  # noqa: E402
    Artifact,
    Identity,
    Limits,
    Profile,
    Record,
    Resources,
    Route,
    Scale,
    SignedRecord,
    encode_record,
)
from falak.core.settings import GOSSIP_MAX_BYTES, MESSAGE_MAX_BYTES, Settings  # noqa: E402

SEED = bytes(range(32))
ME, PEER = native.peer_id(SEED), native.peer_id(bytes(32))
HEARTBEATS, ORBIT = "/falak/1/heartbeat/main", "/falak/1/orbit/default"
DIGEST = "ab" * 32


def profile(name: str = "n2", **fields: Any) -> Profile:
    return Profile(Identity(PEER, name, 7), 1, **fields)


def record(**fields: Any) -> Record:
    usual: dict[str, Any] = {"name": "hello", "generation": 1, "version": "1", "orbit": "default"}
    return Record(**(usual | fields))


def signed(what: Record, seed: bytes = SEED) -> SignedRecord:
    data = encode_record(what)
    return SignedRecord(data, native.peer_id(seed), native.sign(seed, data))


def heard(message: wire.Message, topic: str = ORBIT) -> tuple[object, seam.Reader]:
    reader = seam.Reader(ME)
    return reader.read((native.GOSSIP, topic, PEER, PEER, wire.encode(message))), reader


def sent(data: bytes) -> tuple[object, seam.Reader]:
    reader = seam.Reader(ME)
    return reader.read((native.MESSAGE, PEER, data)), reader


@pytest.mark.parametrize(
    ("row", "event"),
    [
        ((native.LISTENING, "/ip4/127.0.0.1/tcp/1"), seam.Listening("/ip4/127.0.0.1/tcp/1")),
        ((native.LINK_UP, PEER, "/a", True), ev.LinkUp(PEER, "/a", True)),
        ((native.LINK_DOWN, PEER, "closed"), ev.LinkDown(PEER, "closed")),
        ((native.DIALED, 5, PEER), seam.DialEnded(5)),
        ((native.DIAL_FAILED, 5, None, True, "refused", None), seam.DialEnded(5, True, "refused")),
        (
            (native.DIAL_FAILED, 5, ME, False, "another answers", PEER),
            seam.DialEnded(5, False, "another answers", PEER),
        ),
        ((native.UNDELIVERED, PEER, 3, "gone"), seam.FramesLost(PEER, 3)),
        ((native.ASKED, 9, PEER, b"x"), seam.Asked(9, PEER, b"x")),
        ((native.ANSWERED, 4, True, b"x"), seam.AskAnswered(4, b"x")),
        ((native.ANSWERED, 4, False, "late"), seam.AskAnswered(4, b"", "late")),
        ((native.FETCHED, 2, True, 10, ""), seam.BlobFetched(2)),
        ((native.FETCHED, 2, False, 0, "digest"), seam.BlobFetched(2, "digest")),
        ((native.PEER_SILENT, PEER, 1500), ev.PeerSilent(PEER, 1.5)),
        ((native.PEER_BACK, PEER), ev.PeerBack(PEER)),
        ((native.WANTED, "hello", 1, 10), ev.Wanted("hello")),
        ((native.FORGONE, "hello"), ev.Forgone("hello")),
        ((native.FIRST_BYTE, "hello", 1000, 2000), ev.Answered("hello", 0.001, 0.002)),
        ((native.NOT_HERE, "hello", PEER), ev.NotHere("hello", PEER)),
        ((native.UNREACHABLE, "hello", PEER, "why"), ev.Unreachable("hello", PEER)),
        ((native.LOADED, 3, True, 1500, ""), seam.Loaded(3, 0.0015)),
        ((native.LOADED, 3, False, 0, "no memory"), seam.Loaded(3, 0.0, "no memory")),
        ((native.CROWDED, "hello"), ev.Crowded("hello")),
        ((native.FATAL, "panic"), seam.Fatal("panic")),
    ],
)
def test_every_kind_is_an_event(row: tuple[Any, ...], event: object) -> None:
    assert seam.Reader(ME).read(row) == event


def test_an_unknown_kind_is_counted() -> None:
    reader = seam.Reader(ME)
    assert reader.read((77, "x")) is None
    assert reader.refused == {"native_kind": 1}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "message_malformed"),
        (b"\xff\x00garbage", "message_malformed"),
        (msgspec.msgpack.encode((2, 5, [])), "message_version"),
        (msgspec.msgpack.encode((1, 999, [])), "message_kind"),
        (msgspec.msgpack.encode((1, 12, ["key"])), "message_body"),
        (msgspec.msgpack.encode((1, 12, ["key", "no number"])), "message_body"),
        (b"\x00" * (MESSAGE_MAX_BYTES + 1), "message_oversize"),
    ],
)
def test_bytes_that_are_no_message_are_counted(data: bytes, reason: str) -> None:
    event, reader = sent(data)
    assert event == (ev.OtherVersion(PEER, 2) if reason == "message_version" else None)
    assert reader.refused == {reason: 1}
    reader = seam.Reader(ME)
    assert reader.read((native.GOSSIP, ORBIT, PEER, PEER, data)) is None
    assert reader.refused == {reason: 1}


def test_messages_on_a_stream_get_through() -> None:
    event, reader = sent(wire.encode(wire.Lookup("hello", 3)))
    assert event == ev.Received(PEER, wire.Lookup("hello", 3))
    assert not reader.refused


@pytest.mark.parametrize(
    ("message", "topic"),
    [
        (wire.Heartbeat(profile(), 1), HEARTBEATS),
        (wire.Goodbye(7, 1), HEARTBEATS),
        (wire.Accused("n3", 7, 1, "silent"), HEARTBEATS),
        (wire.Announce(signed(record())), ORBIT),
        (wire.Renewals(((b"x" * 16, 3),)), ORBIT),
    ],
)
def test_gossip_of_its_topic_gets_through(message: wire.Message, topic: str) -> None:
    event, _ = heard(message, topic)
    assert event == ev.Received(PEER, message)


@pytest.mark.parametrize(
    ("message", "topic"),
    [
        (wire.Heartbeat(profile(), 1), ORBIT),
        (wire.Announce(signed(record())), HEARTBEATS),
        (wire.Renewals(((b"x" * 16, 3),)), HEARTBEATS),
        (wire.Hello(profile()), HEARTBEATS),
        (wire.Won("hello", 0, 1, PEER), ORBIT),
        (wire.Keep(signed(record())), ORBIT),
    ],
)
def test_other_gossip_is_counted(message: wire.Message, topic: str) -> None:
    event, reader = heard(message, topic)
    assert event is None
    assert reader.refused == {"gossip_kind": 1}


def test_gossip_has_a_smaller_limit_and_ones_own_is_not_news() -> None:
    reader = seam.Reader(ME)
    assert reader.read((native.GOSSIP, ORBIT, PEER, PEER, b"\x00" * (GOSSIP_MAX_BYTES + 1))) is None
    assert reader.refused == {"message_oversize": 1}
    own = wire.encode(wire.Goodbye(1, 1))
    assert reader.read((native.GOSSIP, HEARTBEATS, ME, PEER, own)) is None
    assert reader.refused == {"message_oversize": 1}


def test_a_heartbeat_above_a_kibibyte_is_counted() -> None:
    tags = tuple(f"tag-{n}" for n in range(200))
    event, reader = heard(wire.Heartbeat(profile(tags=tags), 1), HEARTBEATS)
    assert event is None and reader.refused == {"heartbeat_oversize": 1}


@pytest.mark.parametrize(
    "message",
    [
        wire.Hello(profile("no name")),
        wire.Hello(profile("\x1b[31mred")),
        wire.Hello(profile(tags=("x" * 1100,))),
        wire.Introduced(profile("")),
        wire.Welcome((profile(), profile("A"))),
    ],
)
def test_profiles_that_would_mislead_people_are_counted(message: wire.Message) -> None:
    event, reader = sent(wire.encode(message))
    assert event is None and reader.refused == {"profile_unsound": 1}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (msgspec.structs.replace(signed(record()), signature=bytes(64)), "record_signature"),
        (msgspec.structs.replace(signed(record()), publisher=PEER), "record_signature"),
        (msgspec.structs.replace(signed(record()), publisher="nobody"), "record_signature"),
        (msgspec.structs.replace(signed(record()), data=encode_record(record(name="x"))), "record_signature"),
        (SignedRecord(b"\xc0", ME, native.sign(SEED, b"\xc0")), "record_unreadable"),
        (signed(record(name="../../etc/passwd")), "record_unsound"),
        (signed(record(name="Hello")), "record_unsound"),
        (signed(record(name="hello\n")), "record_unsound"),
        (signed(record(name="x" * 64)), "record_unsound"),
        (signed(record(orbit="")), "record_unsound"),
        (signed(record(artifacts=(Artifact("../lock", 1, ""),))), "record_unsound"),
        (signed(record(artifacts=(Artifact(DIGEST.upper(), 1, ""),))), "record_unsound"),
        (signed(record(artifacts=(Artifact(DIGEST, -1, ""),))), "record_unreadable"),
        (signed(record(limits=Limits(memory_bytes=2**60))), "record_unsound"),
        (signed(record(scale=Scale(2, 1))), "record_unsound"),
        (signed(record(scale=Scale(0, 65))), "record_unsound"),
        (signed(record(scale=Scale(0, 0))), "record_unsound"),
        (signed(record(idle_s=2**60)), "record_unsound"),
        (signed(record(resources=Resources(cpu_millis=-5))), "record_unreadable"),
        (signed(record(routes=(Route("a b", "/"),))), "record_unsound"),
        (signed(record(routes=(Route("a", "x"),))), "record_unsound"),
    ],
)
@pytest.mark.parametrize("shape", [wire.Announce, wire.Keep, lambda r: wire.Records((signed(record()), r))])
def test_records_that_are_not_sound_are_counted(bad: SignedRecord, reason: str, shape: Any) -> None:
    event, reader = sent(wire.encode(shape(bad)))
    assert event is None and reader.refused == {reason: 1}


def test_sound_records_get_through_in_every_message() -> None:
    good = signed(
        record(artifacts=(Artifact(DIGEST, 5, "application/wasm"),), routes=(Route("a.example", "/v1"),))
    )
    for message in (
        wire.Announce(good),
        wire.Keep(good),
        wire.Records((good,)),
        wire.Found("hello", 1, "hello", 1, good),
    ):
        event, reader = sent(wire.encode(message))
        assert event == ev.Received(PEER, message) and not reader.refused


def test_a_profile_at_its_limit_is_told_before_peers_refuse_it() -> None:
    assert seam.size_of(profile()) < seam.HEARTBEAT_MAX_BYTES
    assert seam.size_of(profile(tags=("x" * 1000,))) > seam.HEARTBEAT_MAX_BYTES


def test_requests_wait_longer_than_the_call_made_for_them() -> None:
    settings = Settings(call_deadline_s=3.0)
    assert seam.gateway_settings(settings)["park_ms"] > 3000
    assert seam.mesh_settings(0)["beat_stale_ms"] < seam.mesh_settings(0)["beat_silent_ms"]
    assert seam.mesh_settings(64 * 1024**3)["memory_max_bytes"] == 32 * 1024**3
