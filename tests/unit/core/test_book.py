"""The address book, and what it is for: a mesh that was stopped and started in any order is whole again."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falak.core import effects as ef
from falak.core import events as ev
from falak.core.book import BOOK_MAX, Book
from falak.core.settings import Settings
from falak.core.turn import Turn
from falak.sim.network import CALM
from falak.sim.world import World


def lines(book: Book, turn: Turn) -> list[str]:
    turn.effects = []
    book.write()
    (persist,) = turn.effects
    assert isinstance(persist, ef.Persist)
    return persist.value.decode().split()


def made() -> tuple[Book, Turn]:
    turn = Turn("me", 1)
    return Book(turn), turn


def test_a_peer_that_moved_is_sought_at_its_new_address_only() -> None:
    book, turn = made()
    book.begin(["/ip4/1.1.1.1/tcp/1/p2p/A", "/ip4/2.2.2.2/tcp/1/p2p/B"])
    book.met("A", ("/ip4/1.1.1.1/tcp/9/p2p/A",))
    assert lines(book, turn) == ["/ip4/2.2.2.2/tcp/1/p2p/B", "/ip4/1.1.1.1/tcp/9/p2p/A"]
    book.met("A", ())
    assert len(lines(book, turn)) == 2
    book.forget("B")
    assert lines(book, turn) == ["/ip4/1.1.1.1/tcp/9/p2p/A"]


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 3)), max_size=60))
def test_it_never_shrinks_to_nothing_and_is_bounded(meetings: list[tuple[int, int]]) -> None:
    book, turn = made()
    book.begin([f"/{n}" for n in range(BOOK_MAX + 5)])
    for peer, count in meetings:
        book.met(str(peer), tuple(f"/{peer}/{n}" for n in range(count)))
        assert 0 < len(lines(book, turn)) <= BOOK_MAX
    for peer, count in meetings[-1:]:
        assert count == 0 or lines(book, turn)[-1] == f"/{peer}/{count - 1}"


def whole(world: World) -> bool:
    return all(len(host.node.members.present()) == len(world.hosts) for host in world.hosts.values())


@pytest.mark.parametrize("order", list(permutations(("n1", "n2", "n3"))), ids="-".join)
@pytest.mark.parametrize("gap_s", [0.1, Settings().join_s + 2])
def test_a_mesh_that_was_stopped_in_order_is_whole_again(order: tuple[str, ...], gap_s: float) -> None:
    world = World(1, CALM)
    world.mesh(3)
    world.run(1.5)
    assert not world.launch("n1", "hello").why
    for name in ("n1", "n2", "n3"):
        world.hosts[name].step(ev.Leave())
        world.run(0.1)
        world.crash(name)
        world.run(1.0)
    for name in order:
        world.restart(name)
        world.run(gap_s)
    assert world.run_until(lambda: whole(world), Settings().join_s + Settings().redial_max_s * 1.25 + 1)
    world.run(Settings().sync_s * 2)
    assert {host.node.orbits.records["hello"].digest for host in world.hosts.values()}
    assert world.ask("n3", "hello").status == 200
