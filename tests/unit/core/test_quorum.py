"""How many acks win, what a set of votes amounts to, and which epoch comes next."""

import pytest

from falak.core.model import Vote
from falak.core.quorum import leader, needed, next_epoch, split, winner
from falak.core.settings import EPOCH_JUMP_MAX

FIVE = ("a", "b", "c", "d", "e")


@pytest.mark.parametrize(("electors", "acks"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_acks_that_win(electors: int, acks: int) -> None:
    assert needed(electors) == acks
    assert 2 * acks > electors  # two such sets share an elector


def test_nobody_votes_where_there_are_no_electors() -> None:
    with pytest.raises(ValueError, match="at least one"):
        needed(0)


def votes(epoch: int, text: str) -> dict[str, Vote]:
    """``votes(3, "a:x b:y")``: a voted for x in epoch 3, b for y."""
    return {pair.split(":")[0]: Vote(epoch, pair.split(":")[1]) for pair in text.split()}


def test_three_of_five_win() -> None:
    assert winner(votes(1, "a:x b:x"), FIVE) is None
    assert winner(votes(1, "a:x b:x c:x"), FIVE) == (1, "x")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_winner_among_few(count: int) -> None:
    few = FIVE[:count]
    enough = votes(1, " ".join(f"{e}:x" for e in few[: needed(count)]))
    assert winner(enough, few) == (1, "x")
    enough.popitem()
    assert winner(enough, few) is None


def test_votes_of_those_not_named_do_not_count() -> None:
    assert winner(votes(1, "a:x b:x z:x"), FIVE) is None


def test_only_the_newest_epoch_counts() -> None:
    mixed = votes(1, "a:x b:x c:x") | votes(2, "d:y")
    assert leader(mixed, FIVE) == (2, "y", 1)
    assert winner(mixed, FIVE) is None


def test_equal_leaders_are_ordered_by_id() -> None:
    assert leader(votes(1, "a:y b:x"), FIVE) == (1, "x", 1)
    assert leader({}, FIVE) == leader({"a": Vote()}, FIVE) == (0, "", 0)


def test_split_means_that_nobody_can_win_any_more() -> None:
    assert not split(votes(1, "a:x b:y"), FIVE, 1)
    assert not split(votes(1, "a:x b:x c:y d:y"), FIVE, 1)
    assert split(votes(1, "a:x b:x c:y d:y e:z"), FIVE, 1)
    assert split(votes(1, "a:x b:y"), FIVE[:2], 1)
    assert not split({}, FIVE, 1)


def test_electors_that_moved_on_cannot_ack_an_old_epoch() -> None:
    assert split(votes(1, "a:x b:x") | votes(2, "c:z d:z e:z"), FIVE, 1)


def test_the_next_epoch_is_one_more_than_the_highest_heard() -> None:
    assert next_epoch([]) == next_epoch([0, 0]) == 1
    assert next_epoch([0, 4, 2]) == 5
    assert next_epoch([0, 70_000]) == 70_001  # an elector that knows nothing is no measure


def test_an_epoch_far_beyond_the_others_is_not_believed() -> None:
    assert next_epoch([3, 3 + EPOCH_JUMP_MAX]) == 4 + EPOCH_JUMP_MAX
    assert next_epoch([3, 4 + EPOCH_JUMP_MAX]) == 4
    assert next_epoch([3, 10**9, 10**12]) == 4
