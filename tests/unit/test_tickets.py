"""Tickets and keys: what goes in comes out, and everything else is refused with what to do."""

import base64
from pathlib import Path

import msgspec
import pytest

from falak.errors import OperatorError
from falak.mesh.identity import Keys, boot_id, settle_keys
from falak.mesh.tickets import ADDRESSES_MAX, Ticket, decode_ticket, encode_ticket

KEY, OTHER = bytes(range(32)), bytes(32)
ADDRESS = "/ip4/127.0.0.1/tcp/4200/p2p/12D3KooWGKLf1CYkJKEnGAibpgCqkrQxwuexnygj7ovWJbNqgWee"


def word(ticket: Ticket) -> str:
    return "falak1" + base64.urlsafe_b64encode(msgspec.msgpack.encode(ticket)).decode().rstrip("=")


def test_a_ticket_brings_the_network_key_and_addresses() -> None:
    ticket = decode_ticket(encode_ticket(KEY, [ADDRESS, ADDRESS + "x"]))
    assert (ticket.network_key, ticket.addresses, ticket.role) == (KEY, (ADDRESS, ADDRESS + "x"), "member")


def test_spaces_and_line_ends_of_a_copied_ticket_are_forgiven() -> None:
    text = encode_ticket(KEY, [ADDRESS])
    assert decode_ticket(f"  {text[:40]}\n  {text[40:]}\n") == decode_ticket(text)


def test_a_ticket_holds_a_bounded_number_of_addresses() -> None:
    ticket = decode_ticket(encode_ticket(KEY, [f"{ADDRESS}{n}" for n in range(50)]))
    assert len(ticket.addresses) == ADDRESSES_MAX


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "does not begin"),
        ("hello", "does not begin"),
        ("falak2abc", "newer version"),
        ("falak1", "missing or changed"),
        ("falak1!!!", "missing or changed"),
        (encode_ticket(KEY, [ADDRESS])[:-9], "missing or changed"),
        ("falak1" + "A" * 5000, "characters"),
        (word(Ticket(1, KEY[:-1], (ADDRESS,), "member")), "missing or changed"),
        (word(Ticket(1, KEY, (), "member")), "missing or changed"),
        (word(Ticket(2, KEY, (ADDRESS,), "member")), "newer version"),
        (word(Ticket(1, KEY, (ADDRESS,), "viewer")), "newer version"),
    ],
)
def test_what_is_no_ticket_is_refused(text: str, why: str) -> None:
    with pytest.raises(OperatorError, match=why) as caught:
        decode_ticket(text)
    assert caught.value.exit == 2
    assert "falak ticket" in caught.value.hint


def test_a_new_node_without_a_ticket_makes_a_mesh_and_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    keys = settle_keys(path, [])
    assert settle_keys(path, []) == keys
    assert path.stat().st_mode & 0o777 == 0o600
    assert (len(keys.key_seed), len(keys.network_key)) == (32, 32)
    assert keys.key_seed != settle_keys(tmp_path / "second", []).key_seed


def test_a_new_node_takes_the_network_of_its_ticket(tmp_path: Path) -> None:
    ticket = decode_ticket(encode_ticket(KEY, [ADDRESS]))
    keys = settle_keys(tmp_path / "identity", [ticket, ticket])
    assert keys.network_key == KEY
    assert settle_keys(tmp_path / "identity", [ticket]) == keys


def test_tickets_of_other_meshes_are_refused(tmp_path: Path) -> None:
    tickets = [decode_ticket(encode_ticket(key, [ADDRESS])) for key in (KEY, OTHER)]
    with pytest.raises(OperatorError, match="different meshes"):
        settle_keys(tmp_path / "identity", tickets)
    keys = settle_keys(tmp_path / "identity", tickets[:1])
    with pytest.raises(OperatorError, match="another mesh") as caught:
        settle_keys(tmp_path / "identity", tickets[1:])
    assert caught.value.exit == 2
    assert settle_keys(tmp_path / "identity", []) == keys


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "damaged"),
        (b"{}", "damaged"),
        (msgspec.json.encode(Keys(KEY, OTHER, 2)), "another version"),
        (msgspec.json.encode(Keys(KEY[:5], OTHER)), "another version"),
    ],
)
def test_a_damaged_identity_is_never_replaced(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "identity"
    path.write_bytes(content)
    with pytest.raises(OperatorError, match=why):
        settle_keys(path, [])
    assert path.read_bytes() == content


def test_no_two_runs_share_a_boot_id() -> None:
    assert len({boot_id() for _ in range(1000)}) == 1000
