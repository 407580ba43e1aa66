"""A member that comes or goes moves only what it wins or won."""

from hypothesis import given
from hypothesis import strategies as st

from falak.core.rendezvous import electors, keepers, neighbours

ids = st.text("abcdefgh0123456789", min_size=1, max_size=8)
members = st.sets(ids, min_size=1, max_size=12)
keys = st.text(max_size=12)


@given(keys, members, ids)
def test_a_newcomer_moves_only_what_it_wins(key: str, before: set[str], newcomer: str) -> None:
    old, new = electors(key, before), electors(key, before | {newcomer})
    if newcomer not in new:
        assert new == old
    else:
        stayed = [e for e in new if e != newcomer]
        assert stayed == [e for e in old if e != newcomer][: len(stayed)]
        assert len(set(old) - set(new)) <= 1


@given(keys, members, st.data())
def test_one_that_goes_moves_only_what_it_had(key: str, before: set[str], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(sorted(before)))
    old, new = electors(key, before), electors(key, before - {gone})
    if gone not in old:
        assert new == old
    else:
        assert [e for e in old if e != gone] == list(new[: len(old) - 1])


@given(keys, members, st.dictionaries(ids, st.sampled_from(["", "x", "y", "z"])))
def test_keepers_are_electors_and_as_many_zones_as_there_are(
    key: str, some: set[str], zones: dict[str, str]
) -> None:
    chosen = electors(key, some)
    kept = keepers(chosen, zones)
    assert set(kept) <= set(chosen) and len(kept) == len(set(kept)) == min(3, len(chosen))
    declared = {zones[e] for e in chosen if zones.get(e)}
    if len(declared) > 1:
        assert len({zones[e] for e in kept if zones.get(e)}) == min(3, len(declared))


@given(members)
def test_watching_is_mutual(some: set[str]) -> None:
    for one in some:
        assert one not in neighbours(one, some)
        assert all(one in neighbours(other, some) for other in neighbours(one, some))
