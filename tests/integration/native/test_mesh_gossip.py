"""Gossip: who gets what, from whom, and what is refused."""

import pytest

from falak import _native as native

from .conftest import SETTINGS, MakeNode, Node

MAX = SETTINGS["gossip_max_bytes"]


def subscribed(*nodes: Node, topic: str = "t") -> None:
    """Subscribe all, and publish from each until all others have heard it: subscriptions travel."""
    for node in nodes:
        node.mesh.subscribe(topic)
    for node in nodes:
        hearing = set(nodes) - {node}
        for _ in range(200):
            node.mesh.publish(topic, b"hello from " + node.id.encode())
            for other in list(hearing):
                other.pump(0.01)
                if any(e[0] == native.GOSSIP and e[2] == node.id for e in other.waiting):
                    hearing.discard(other)
            if not hearing:
                break
        assert not hearing, "the mesh of the topic did not form"
    for node in nodes:
        node.pump(0.05)
        node.waiting = [event for event in node.waiting if event[0] != native.GOSSIP]


def heard(node: Node, data: bytes) -> tuple[object, ...]:
    while True:
        event = node.wait(native.GOSSIP)
        if event[3] == data:
            return event


def test_a_message_names_its_source_and_its_carrier(make_node: MakeNode) -> None:
    one, two, three = make_node(), make_node(), make_node()
    one.dial(two)
    two.dial(three)
    subscribed(one, two, three)
    one.mesh.publish("t", b"news")
    assert heard(two, b"news") == ("t", one.id, one.id, b"news")
    assert heard(three, b"news") == ("t", one.id, two.id, b"news")
    assert one.none_of(native.GOSSIP, 0.05)  # never back to its source
    assert one.mesh.counters()["gossip_out"] >= 1


def test_each_node_hears_a_message_once(make_node: MakeNode) -> None:
    nodes = [make_node() for _ in range(4)]
    for at, node in enumerate(nodes):
        for other in nodes[at + 1 :]:
            node.dial(other)
    subscribed(*nodes)
    for n in range(50):
        nodes[n % 4].mesh.publish("t", b"%d" % n)
    for at, node in enumerate(nodes):
        wanted = {b"%d" % n for n in range(50) if n % 4 != at}
        got = [node.wait(native.GOSSIP)[3] for _ in wanted]
        got = [data for data in got if not data.startswith(b"hello")]
        got += [node.wait(native.GOSSIP)[3] for _ in range(len(wanted) - len(got))]
        assert sorted(got) == sorted(wanted)
        assert node.none_of(native.GOSSIP, 0.02)


def test_the_largest_message_passes_and_a_larger_one_is_refused(pair: tuple[Node, Node]) -> None:
    one, two = pair
    topic = "x" * 256
    subscribed(one, two, topic=topic)
    one.mesh.publish(topic, b"m" * MAX)
    assert heard(two, b"m" * MAX)[0] == topic
    with pytest.raises(ValueError, match="gossip_max_bytes"):
        one.mesh.publish(topic, bytes(MAX + 1))
    one.mesh.publish(topic, b"still heard")
    heard(two, b"still heard")


@pytest.mark.parametrize("topic", ["", "x" * 257])
def test_topics_have_a_length(make_node: MakeNode, topic: str) -> None:
    one = make_node()
    for call in (one.mesh.subscribe, one.mesh.unsubscribe, lambda t: one.mesh.publish(t, b"")):
        with pytest.raises(ValueError, match="a topic has 1 to 256 bytes"):
            call(topic)


def test_only_subscribers_hear(make_node: MakeNode) -> None:
    one, two, three = make_node(), make_node(), make_node()
    one.dial(two)
    one.dial(three)
    subscribed(one, two)
    one.mesh.publish("t", b"for two")
    heard(two, b"for two")
    assert three.none_of(native.GOSSIP, 0.05)
    two.mesh.unsubscribe("t")
    refused = one.mesh.counters()["gossip_refused"]
    for _ in range(200):
        one.mesh.publish("t", b"for nobody")
        one.pump(0.01)
        if one.mesh.counters()["gossip_refused"] > refused:
            break
    assert one.mesh.counters()["gossip_refused"] > refused
    assert all(event[4] != b"for nobody" for event in three.waiting if event[0] == native.GOSSIP)


def test_alone_it_goes_nowhere(make_node: MakeNode) -> None:
    one = make_node()
    one.mesh.subscribe("t")
    one.mesh.publish("t", b"anybody?")
    one.count_until("gossip_refused", 1)
    assert one.mesh.counters()["gossip_out"] == 0


def test_a_full_queue_drops_gossip_and_counts_it(make_node: MakeNode) -> None:
    one, two = make_node(), make_node(capacity=10)
    one.dial(two)
    subscribed(one, two)
    before = two.mesh.counters()["gossip_in"]
    for n in range(100):
        one.mesh.publish("t", b"%d" % n)
    two.count_until("gossip_in", before + 100, pump=False)
    counters = two.events.counters()
    assert counters["queued"] == 10 and counters["dropped"] == 90
    assert [two.wait(native.GOSSIP)[3] for _ in range(10)] == [b"%d" % n for n in range(10)]
    one.mesh.publish("t", b"room again")
    heard(two, b"room again")
