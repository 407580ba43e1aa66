"""A stranger in the mesh: it has the network key and sends what no node would, to one of three real nodes.

After every attack the attacked node answers people and requests, has counted what came, and raised nothing; the
other nodes see it alive all the time. The stranger is a bare ``falak._native.Mesh``.
"""

import time
from typing import Any

import msgspec
import pytest

from falak import _native as native
from falak.core import wire
from falak.core.model import Capacity, Claim, Record, Route, SignedRecord, Vote, encode_record
from falak.core.settings import EPOCH_JUMP_MAX
from tests.asking import at_all, copies, get, known, launch, states
from tests.hostile.conftest import MakeStranger
from tests.hostile.stranger import CAPSULE, HEARTBEATS, Stranger, counted, counts, speaks
from tests.hostile.test_bytes import ODD, RECORDS
from tests.hostile.test_slow_and_large import rss_bytes
from tests.http1 import get as get_host
from tests.nodes import Running, until

pytestmark = pytest.mark.xdist_group("stranger")
CALL_DEADLINE_S = 10.0
"""A call is refused after 9 s at the latest."""


# --- at the door -------------------------------------------------------------------------------------------


def test_another_network_key_is_kept_out(stranger: MakeStranger) -> None:
    one = stranger(network_key=bytes(32), settings={"handshake_ms": 1000})

    def knock() -> None:
        one.mesh.dial(1, one.target.ready["addresses"][0])
        assert "network key" in one.wait(native.DIAL_FAILED, 1)[3]

    counts(one.target, "refused_connections", knock)
    assert one.name not in states(one.target)


def test_who_does_not_say_hello_is_hung_up_on(stranger: MakeStranger) -> None:
    one = stranger()
    one.link()
    one.wait(native.LINK_DOWN, one.target.ready["id"], within_s=8.0)
    assert one.name not in states(one.target)


@pytest.mark.parametrize(
    ("change", "why"),
    [({"id": "other"}, "another node"), ({"cluster": "elsewhere"}, "cluster")],
)
def test_a_hello_that_lies_is_refused(stranger: MakeStranger, change: dict[str, str], why: str) -> None:
    one = stranger()
    one.link()
    lie = msgspec.structs.replace(one.profile.node, **change)
    one.say(wire.Hello(msgspec.structs.replace(one.profile, node=lie), joining=True))
    assert why in one.heard(wire.HelloRefused).reason
    assert one.name not in states(one.target)


# --- what is no message -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in ODD if name != "too long"])
def test_odd_bytes_are_counted(stranger: MakeStranger, name: str) -> None:
    data, reason = ODD[name]
    one = stranger()
    one.link()
    counts(one.target, f"message_{reason}", lambda: one.mesh.send(one.target.ready["id"], data))
    one.settled()


def test_a_message_of_10_mb_ends_its_stream_and_no_more(stranger: MakeStranger) -> None:
    one = stranger(settings={"message_max_bytes": 16 << 20})
    one.link()
    before = rss_bytes(one.target)
    counts(one.target, "peer_errors", lambda: one.mesh.send(one.target.ready["id"], bytes(10 << 20)))
    assert rss_bytes(one.target) - before < 16 << 20
    until(lambda: speaks(one), "a new stream is opened")


def test_an_ask_of_10_mb_and_odd_asks_are_answered_or_refused(stranger: MakeStranger) -> None:
    one = stranger(settings={"message_max_bytes": 16 << 20})
    one.link()
    assert not one.ask(one.target.ready["id"], bytes(10 << 20))[0]
    for data, _ in ODD.values():
        if len(data) < 1 << 20:
            ok, answer = one.ask(one.target.ready["id"], data)
            assert ok, answer
            assert msgspec.msgpack.decode(answer)[0] is False


def test_gossip_that_is_too_large_harms_only_who_sent_it(stranger: MakeStranger, three: list[Running]) -> None:
    one = stranger(settings={"gossip_max_bytes": 1 << 20})
    one.mesh.subscribe(HEARTBEATS)
    one.join()
    one.wait(native.GOSSIP, HEARTBEATS)
    one.mesh.publish(HEARTBEATS, bytes(64 << 10))
    launch(three[0], "after-large-gossip")
    known(three, "after-large-gossip")


@pytest.mark.parametrize("name", ODD)
def test_odd_gossip_is_counted(stranger: MakeStranger, name: str) -> None:
    data, reason = ODD[name]
    if len(data) > 16 << 10:
        data = data[: 15 << 10]
    one = stranger()
    one.mesh.subscribe(HEARTBEATS)
    one.join()
    one.wait(native.GOSSIP, HEARTBEATS)
    refused = ("message_malformed", "message_body", "message_kind", "message_version")

    def sum_of_refused() -> int:
        return sum(counted(one.target, name) for name in refused)

    before = sum_of_refused()
    one.mesh.publish(HEARTBEATS, data)
    until(lambda: sum_of_refused() > before, f"{reason} is counted")


# --- lies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_is_none_is_counted(stranger: MakeStranger, name: str) -> None:
    record, reason = RECORDS[name]
    one = stranger()
    one.link()
    counts(one.target, reason, lambda: one.say(wire.Announce(record)))
    counts(one.target, reason, lambda: one.say(wire.Keep(record)))
    assert CAPSULE in {row["name"] for row in one.target.client.capsules()}


def test_a_heartbeat_that_names_another_node_is_counted(stranger: MakeStranger, three: list[Running]) -> None:
    one = stranger()
    one.mesh.subscribe(HEARTBEATS)
    one.join()
    one.wait(native.GOSSIP, HEARTBEATS)
    other = msgspec.structs.replace(one.profile.node, id=three[0].ready["id"], name="n1")
    lie = wire.Heartbeat(msgspec.structs.replace(one.profile, node=other, incarnation=99), 1)
    counts(one.target, "heartbeat_foreign", lambda: one.mesh.publish(HEARTBEATS, wire.encode(lie)))


def test_a_goodbye_for_another_changes_nothing(stranger: MakeStranger, three: list[Running]) -> None:
    one = stranger()
    one.mesh.subscribe(HEARTBEATS)
    one.join()
    one.say(wire.Goodbye(1, 1))
    one.settled()
    assert states(one.target)[one.name] == "alive"
    one.say(wire.Goodbye(one.boot, 1))
    until(lambda: states(one.target)[one.name] == "left", "its own goodbye is believed")


def propose(one: Stranger, **changed: Any) -> wire.Propose:
    usual = wire.Propose(
        CAPSULE, 1, 0, 1, 1_000_000, one.id, (one.target.ready["id"],), "cause", Capacity(), ()
    )
    return msgspec.structs.replace(usual, **changed)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"capsule": "nobody-has-it"}, "proposal_unknown_capsule"),
        ({"electors": ("a", "b", "c")}, "proposal_not_an_elector"),
        ({"electors": ()}, "proposal_not_an_elector"),
        ({"epoch": 0}, "proposal_epoch"),
        ({"epoch": -5}, "message_body"),
        ({"epoch": 2**62}, "message_body"),
        ({"gravity": 10**9}, "message_body"),
        ({"electors": ("a" * 301,)}, "message_body"),
        ({"convener": "nobody"}, "proposal_unknown_convener"),
    ],
)
def test_a_proposal_without_sense_gets_no_vote(stranger, changed: dict[str, Any], reason: str) -> None:
    one = stranger()
    one.join()
    counts(one.target, reason, lambda: one.say(propose(one, slot=9, **changed)))
    one.settled()
    assert not [
        row for row in one.waiting if row[0] == native.MESSAGE and isinstance(wire.decode(row[2]), wire.Voted)
    ]


def test_an_epoch_that_jumps_gets_no_vote(stranger: MakeStranger) -> None:
    one = stranger()
    one.join()
    one.say(propose(one, slot=8))
    assert one.heard(wire.Voted).vote == Vote(1, one.id)
    counts(one.target, "proposal_epoch", lambda: one.say(propose(one, slot=8, epoch=2 + EPOCH_JUMP_MAX)))


def test_a_vote_by_who_was_not_asked_elects_nobody(stranger: MakeStranger, three: list[Running]) -> None:
    """The stranger calls the node to an election whose electors never answer, and votes in their place."""
    launch(three[0], "rigged")
    known(three, "rigged")
    one = stranger()
    one.join()
    silent = ("nobody-1", "nobody-2", "nobody-3")
    one.say(wire.Summon("rigged", 1, 0, 1, 0, 1000, silent, one.id, False, "cause"))
    vote = wire.Voted("rigged", 0, 1, Vote(1, one.target.ready["id"]))

    def vote_often() -> None:
        for _ in range(5):
            one.say(vote)

    counts(one.target, "vote_not_an_elector", vote_often, 5)
    assert get(one.target, "rigged").status == 200
    until(lambda: [copy["state"] for copy in copies(three[0], "rigged")] == ["active"], "one copy runs")


def claim_of(one: Stranger, **changed: Any) -> Claim:
    slot = int.from_bytes(one.seed) % 1000  # a slot of its own: the one before may not be forgotten yet
    usual = Claim("claimed", 1, slot, one.id, one.boot, 5, 1, 1_000_000, True, "cause")
    return msgspec.structs.replace(usual, **changed)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, "claim_repeated"),
        ({"sequence": 4, "gravity": 999_999}, "claim_repeated"),
        ({"boot": 6, "sequence": 6}, "claim_other_boot"),
        ({"holder": "another", "sequence": 9}, "claim_foreign"),
    ],
)
def test_a_claim_counts_once_and_only_from_its_holder(stranger, changed: dict[str, Any], reason: str) -> None:
    one = stranger()
    one.join()
    one.say(wire.Claimed(claim_of(one), Capacity()))
    assert one.heard(wire.ClaimHeard).sequence == 5
    counts(one.target, reason, lambda: one.say(wire.Claimed(claim_of(one, **changed), Capacity())))


def test_a_member_that_claims_and_does_not_answer_harms_its_claim_only(stranger, three: list[Running]) -> None:
    """Members trust one another's claims, so this one's capsule may be refused, with a reason and in time, for
    as long as it stays; everything else goes on, and once it is gone so does this."""
    launch(three[0], "liar")
    known(three, "liar")
    one = stranger()
    one.join()
    one.say(wire.Claimed(claim_of(one, capsule="liar", slot=0, epoch=50), Capacity()))
    one.heard(wire.ClaimHeard)
    for node in three:
        began = time.monotonic()
        answer = get(node, "liar")
        assert time.monotonic() - began < CALL_DEADLINE_S
        assert answer.status == 200 or (answer.status == 503 and answer.text and answer.header("retry-after"))
        assert get(node, CAPSULE).status == 200
    one.mesh.close()
    at_all(three, lambda node: get(node, "liar").status == 200, "it serves what the stranger claimed")


def test_a_host_of_another_capsule_is_not_taken(stranger: MakeStranger, three: list[Running]) -> None:
    launch(three[0], "shop", route=[{"host": "shop.example"}])
    one = stranger()
    one.join()
    thief = encode_record(Record("thief", 99, "1", "default", routes=(Route("shop.example"),)))
    signed = SignedRecord(thief, one.id, native.sign(one.seed, thief))
    counts(one.target, "host_taken", lambda: one.say(wire.HostEntry("shop.example", signed)))
    for node in three:
        assert get_host(node.ready["http"], "shop.example", "/", 15.0).text.startswith("hello from a capsule")
    forged = SignedRecord(thief, three[1].ready["id"], native.sign(one.seed, thief))
    counts(one.target, "record_signature", lambda: one.say(wire.HostEntry("other.example", forged)))
