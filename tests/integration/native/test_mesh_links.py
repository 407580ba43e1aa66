"""Links: dialling and what can go wrong with it, listening, limits of connections, the end of a node."""

import contextlib
import errno
import socket
import threading
import time
from pathlib import Path

import pytest

from falak import _native as native

from .conftest import NETWORK_KEY, SETTINGS, MakeNode, Node


def dial_fails(
    node: Node, address: str, within_s: float = 5.0, answered_by: str | None = None
) -> tuple[str | None, bool, str]:
    token = next(node.tokens)
    node.mesh.dial(token, address)
    _, peer, refused, why, who = node.wait(native.DIAL_FAILED, token, within_s=within_s)
    assert who == answered_by
    return peer, refused, why


def test_a_dial_makes_a_link_on_both_sides(make_node: MakeNode) -> None:
    one, two = make_node(), make_node()
    one.mesh.dial(7, two.address)
    assert one.wait(native.DIALED) == (7, two.id)
    assert one.wait(native.LINK_UP) == (two.id, two.address, True)
    peer, address, dialer = two.wait(native.LINK_UP)
    assert (peer, dialer) == (one.id, False) and address.startswith("/ip4/127.0.0.1/tcp/")
    assert one.mesh.counters()["connections"] == 1


def test_an_address_without_an_identity_is_dialled_too(make_node: MakeNode) -> None:
    one, two = make_node(), make_node()
    one.mesh.dial(1, two.address.partition("/p2p/")[0])
    assert one.wait(native.DIALED) == (1, two.id)


def test_only_the_last_connection_ends_the_link(make_node: MakeNode) -> None:
    one, two = make_node(), make_node()
    one.mesh.dial(1, two.address)
    two.mesh.dial(2, one.address)
    one.wait(native.DIALED, 1)
    two.wait(native.DIALED, 2)
    one.count_until("connections", 2)
    two.count_until("connections", 2)
    for node, other in ((one, two), (two, one)):
        assert node.wait(native.LINK_UP)[0] == other.id
        assert not [event for event in node.waiting if event[0] == native.LINK_UP]
    one.mesh.disconnect(two.id)
    for node, other in ((one, two), (two, one)):
        assert node.wait(native.LINK_DOWN)[0] == other.id
        assert node.none_of(native.LINK_DOWN, 0.05)
        assert node.mesh.counters()["connections"] == 0


def test_nobody_listens_there(make_node: MakeNode) -> None:
    one, gone = make_node(), make_node()
    address = gone.address
    gone.mesh.close()
    peer, refused, why = dial_fails(one, address)
    assert (peer, refused) == (gone.id, True) and "nobody listens" in why


def test_another_identity_answers(make_node: MakeNode) -> None:
    one, two, three = make_node(), make_node(), make_node()
    peer, refused, why = dial_fails(one, two.address.replace(two.id, three.id), answered_by=two.id)
    assert (peer, refused) == (three.id, False)
    assert two.id in why and three.id in why


def test_a_node_does_not_dial_itself(make_node: MakeNode) -> None:
    one = make_node()
    assert "this node itself" in dial_fails(one, one.address.partition("/p2p/")[0])[2]


def test_another_network_key_is_kept_out(make_node: MakeNode) -> None:
    one = make_node(settings={"handshake_ms": 500})
    two = make_node(network_key=bytes(32), settings={"handshake_ms": 500})
    _, refused, why = dial_fails(one, two.address, within_s=1.5)
    assert not refused and "network key" in why
    two.count_until("refused_connections", 1)
    assert two.none_of(native.LINK_UP, 0)


def test_an_address_that_is_none(make_node: MakeNode) -> None:
    one = make_node()
    with pytest.raises(ValueError, match="multiaddr"):
        one.mesh.dial(1, "127.0.0.1:4200")
    assert "only /ip4" in dial_fails(one, "/ip4/127.0.0.1/udp/1/quic-v1")[2]


def test_a_dial_into_silence_ends_in_time(make_node: MakeNode) -> None:
    one = make_node(settings={"handshake_ms": 300})
    with socket.create_server(("127.0.0.1", 0)) as mute:
        why = dial_fails(one, f"/ip4/127.0.0.1/tcp/{mute.getsockname()[1]}", within_s=1.3)[2]
    assert "within 300 ms" in why


def test_silent_connections_lock_nobody_out(make_node: MakeNode) -> None:
    one = make_node(settings={"connections_pending_max": 32, "handshake_ms": 3000})
    two = make_node()
    silent = [socket.create_connection(("127.0.0.1", one.port)) for _ in range(200)]
    try:
        # Both well before the handshakes of the silent ones end by themselves.
        one.count_until("refused_connections", 200 - 32, within_s=1.0)
        two.mesh.dial(1, one.address)
        two.wait(native.DIALED, 1, within_s=1.0)
        assert 1 <= one.mesh.counters()["pending"] <= 32
    finally:
        for connection in silent:
            connection.close()


def test_connections_above_the_limit_are_refused(make_node: MakeNode) -> None:
    one = make_node(settings={"connections_max": 1})
    two, three = make_node(), make_node()
    two.dial(one)
    three.mesh.dial(1, one.address)
    three.wait(native.LINK_DOWN, one.id)  # the refusal comes after the handshake
    one.count_until("refused_connections", 1)
    assert one.mesh.counters()["connections"] == 1


def test_connections_of_one_peer_are_limited(make_node: MakeNode) -> None:
    one, two = make_node(settings={"connections_per_peer_max": 2}), make_node()
    for token in range(3):
        two.mesh.dial(token, one.address)
    one.count_until("refused_connections", 1)
    one.pump(0.05)
    assert one.mesh.counters()["connections"] == 2
    assert one.none_of(native.LINK_DOWN, 0.05)


def test_a_node_out_of_memory_takes_nobody(make_node: MakeNode) -> None:
    one, two = make_node(settings={"memory_max_bytes": 1}), make_node()
    two.mesh.dial(1, one.address)
    one.count_until("refused_connections", 1)
    assert one.mesh.counters()["connections"] == 0
    one.mesh.dial(1, two.address)
    assert "a limit of this node" in one.wait(native.DIAL_FAILED, 1)[3]


def test_commands_are_bounded(make_node: MakeNode) -> None:
    one = make_node(settings={"command_capacity": 8})
    with pytest.raises(BlockingIOError, match="command_capacity"):
        for _ in range(100_000):
            one.mesh.subscribe("t")
    for _ in range(500):
        with contextlib.suppress(BlockingIOError):
            one.mesh.subscribe("t")
            return
        time.sleep(0.01)  # room has no event
    pytest.fail("the commands were not carried out")


def test_a_port_in_use_is_an_os_error(make_node: MakeNode) -> None:
    one = make_node()
    for listen in ([f"/ip4/127.0.0.1/tcp/{one.port}"], [f"/ip4/0.0.0.0/tcp/{one.port}"]):
        with pytest.raises(OSError, match="cannot listen on") as caught:
            make_node(listen=listen)
        assert caught.value.errno == errno.EADDRINUSE


def test_an_address_of_another_machine_is_an_os_error(make_node: MakeNode) -> None:
    with pytest.raises(OSError) as caught:
        make_node(listen=["/ip4/192.0.2.1/tcp/0"])
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_several_addresses_and_ipv6(make_node: MakeNode) -> None:
    one, two = make_node(listen=["/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0"]), make_node()
    listening = [one.wait(native.LISTENING)[0] for _ in range(2)]
    (six,) = [address for address in listening if address.startswith("/ip6/::1/tcp/")]
    two.mesh.dial(1, f"{six}/p2p/{one.id}")
    two.wait(native.DIALED, 1, one.id)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"key_seed": bytes(31)}, "key_seed must be 32 bytes"),
        ({"network_key": b""}, "network_key must be 32 bytes"),
        ({"listen": ["127.0.0.1:4200"]}, "cannot be listened on"),
        ({"settings": SETTINGS | {"beats_ms": 1}}, "unknown setting: beats_ms"),
        ({"settings": {k: v for k, v in SETTINGS.items() if k != "beat_ms"}}, "missing settings: beat_ms"),
        ({"settings": SETTINGS | {"beat_ms": 0}}, "setting beat_ms must be"),
        ({"settings": SETTINGS | {"beat_ms": -1}}, "setting beat_ms must be"),
        ({"settings": SETTINGS | {"command_capacity": 1 << 62}}, "setting command_capacity must be"),
    ],
)
def test_values_that_cannot_be_right(change: dict[str, object], complaint: str) -> None:
    arguments: dict[str, object] = {
        "key_seed": bytes(32),
        "network_key": NETWORK_KEY,
        "listen": [],
        "blobs": "/nonexistent",
        "settings": SETTINGS,
    }
    with pytest.raises(ValueError, match=complaint):
        native.Mesh(native.Events(capacity=1), **(arguments | change))  # type: ignore[arg-type]


def names_of_threads() -> list[str]:
    return [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]


def test_close_leaves_no_thread_and_no_socket(make_node: MakeNode) -> None:
    one, two = make_node(), make_node()
    one.dial(two)
    port = one.port
    assert "falak" in names_of_threads()
    one.mesh.close()
    two.wait(native.LINK_DOWN, one.id, within_s=1.0)
    with socket.create_server(("127.0.0.1", port)):
        pass  # the port is free again
    with pytest.raises(ConnectionError):
        one.mesh.publish("t", b"x")
    with pytest.raises(ConnectionError):
        one.mesh.send(two.id, b"x")
    one.mesh.close()
    two.mesh.close()
    assert "falak" not in names_of_threads()
    assert threading.active_count() == 1


def test_a_forgotten_node_closes_itself(make_node: MakeNode) -> None:
    one = make_node()
    two = native.Mesh(
        native.Events(capacity=16),
        key_seed=bytes(32),
        network_key=NETWORK_KEY,
        listen=[],
        blobs="/nonexistent",
        settings=SETTINGS,
    )
    two.dial(1, one.address)
    one.wait(native.LINK_UP, two.peer_id)
    peer = two.peer_id
    del two
    one.wait(native.LINK_DOWN, peer)


def test_a_node_of_the_same_identity_starts_again(make_node: MakeNode) -> None:
    one, two = make_node(seed=99), make_node()
    two.dial(one)
    one.mesh.close()
    two.wait(native.LINK_DOWN, one.id)
    again = make_node(seed=99, listen=[one.address.partition("/p2p/")[0]])
    assert again.id == one.id
    two.dial(again)
