"""Timers against a plain list: the same keys at the same times, in order, whatever is set or cancelled."""

from hypothesis import given
from hypothesis import strategies as st

from falak.core.turn import Timers

operations = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from("abcdef"), st.floats(0, 10)),
        st.tuples(st.just("cancel"), st.sampled_from("abcdef"), st.just(0.0)),
        st.tuples(st.just("pop"), st.just(""), st.floats(0, 10)),
    ),
    max_size=200,
)


@given(operations)
def test_timers_are_a_sorted_list_of_their_keys(history: list[tuple[str, str, float]]) -> None:
    timers = Timers()
    plain: dict[str, tuple[float, int]] = {}
    for number, (what, key, at) in enumerate(history):
        if what == "set":
            timers.set((key,), at)
            plain[key] = (at, number)
        elif what == "cancel":
            timers.cancel((key,))
            plain.pop(key, None)
        else:
            while (due := timers.pop_due(at)) is not None:
                earliest = min(plain, key=lambda k: plain[k])
                assert due == (earliest,) and plain[earliest][0] <= at
                del plain[earliest]
            assert all(when > at for when, _ in plain.values())
        assert timers.next_at() == min((when for when, _ in plain.values()), default=None)
        assert len(timers) == len(plain)
        assert all(timers.has((key,)) == (key in plain) for key in "abcdef")
