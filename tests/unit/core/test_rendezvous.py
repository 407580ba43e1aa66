"""Who is responsible for a key: electors, keepers with zones, neighbours on the ring."""

import pytest

from falak.core.rendezvous import electors, keepers, neighbours, weight

NODES = [f"n{i}" for i in range(20)]


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (2, 2), (3, 3), (5, 5), (20, 5)])
def test_at_most_five_electors(count: int, expected: int) -> None:
    chosen = electors("hello", NODES[:count])
    assert len(chosen) == len(set(chosen)) == expected


def test_electors_are_the_heaviest_in_order_whatever_the_order_of_members() -> None:
    chosen = electors("hello", NODES)
    assert chosen == electors("hello", reversed(NODES))
    assert list(chosen) == sorted(NODES, key=lambda n: -weight("hello", n))[:5]


def test_the_weight_is_the_same_on_every_machine() -> None:
    assert weight("hello", "n1") == 12217781707364816633
    assert weight("ab", "c") != weight("a", "bc")


def test_keepers_are_the_first_three_where_no_zones_are_declared() -> None:
    assert keepers(("a", "b", "c", "d", "e"), {}) == ("a", "b", "c")
    assert keepers(("a", "b", "c", "d", "e"), dict.fromkeys("abcde", "one")) == ("a", "b", "c")
    assert keepers(("a",), {}) == ("a",)


def test_keepers_are_of_distinct_zones_where_they_are_declared() -> None:
    zones = {"a": "x", "b": "x", "c": "x", "d": "y", "e": "z"}
    assert keepers(("a", "b", "c", "d", "e"), zones) == ("a", "d", "e")
    assert keepers(("a", "b", "c", "d", "e"), zones | {"e": "y"}) == ("a", "d", "b")
    assert keepers(("a", "b", "c", "d"), {"d": "y"}) == ("a", "b", "c")  # one zone tells nothing apart


@pytest.mark.parametrize(("count", "expected"), [(1, 0), (2, 1), (3, 2), (7, 6), (20, 6)])
def test_neighbours_are_three_on_each_side(count: int, expected: int) -> None:
    ring = sorted(NODES[:count])
    near = neighbours(ring[0], ring)
    assert len(near) == expected and ring[0] not in near
    if count == 20:
        assert set(near) == {*ring[1:4], *ring[-3:]}


def test_who_watches_is_watched() -> None:
    for node in NODES:
        assert all(node in neighbours(other, NODES) for other in neighbours(node, NODES))
