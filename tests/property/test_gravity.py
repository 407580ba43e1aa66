"""Gravity rises with each term, stays within its bounds and is never NaN, whatever a node says of itself."""

import math

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from msgspec.structs import replace as with_

from falak.core.gravity import View, Weights, refusal, weigh
from falak.core.model import Capacity, Profile, Resources, Wishes
from falak.core.settings import GRAVITY_ONE
from tests.unit.core.rig import profile, record

amounts = st.integers(0, 2**63 - 1)
capacities = st.builds(Capacity, amounts, amounts, amounts, amounts, amounts)
words = st.sampled_from(["gpu", "ssd", "zone=z", "arch=a", "x"])
wishes = st.builds(
    Wishes,
    st.lists(words, max_size=3).map(tuple),
    st.lists(words, max_size=2).map(tuple),
    st.booleans(),
    st.sampled_from(["", "db"]),
    st.sampled_from(["", "db"]),
)
records = st.builds(
    lambda wish, need: record("c", wishes=wish, resources=need), wishes, st.builds(Resources, amounts, amounts)
)
finite = st.floats(0, 1e12)
views = st.builds(
    View,
    st.builds(
        lambda capacity, tags: profile("n1", zone="z", arch="a", capacity=capacity, tags=tags),
        capacities,
        st.lists(words, max_size=3).map(tuple),
    ),
    finite,
    st.sampled_from([0, 1, 2]),
    finite,
    finite,
    st.integers(-(2**63), 2**63),
    st.sampled_from([frozenset(), frozenset({"db"})]),
    st.booleans(),
    st.integers(-5, 5),
)
weights = st.builds(
    lambda cpu, memory, latency, tags, locality, room, more: Weights(
        cpu, memory, latency, tags, locality, locality + more, room
    ),
    *[st.floats(0.001, 100.0)] * 7,
)


@given(records, views, weights)
def test_gravity_is_a_whole_number_within_its_bounds(what, view, weight) -> None:
    pull = weigh(what, view, weight)
    assert isinstance(pull.gravity, int) and 0 <= pull.gravity <= GRAVITY_ONE
    assert all(not math.isnan(value) and value >= 0 for value in pull.terms.values())
    assert isinstance(refusal(what, view), str)


BETTER = {
    "rtt_s": lambda view: replace(view, rtt_s=view.rtt_s / 2),
    "artifact": lambda view: replace(view, artifact=min(2, view.artifact + 1)),
    "artifact_age_s": lambda view: replace(view, artifact_age_s=view.artifact_age_s / 2),
    "failures": lambda view: replace(view, failures=view.failures / 2),
    "copies": lambda view: replace(view, copies=max(0, view.copies) // 2),
    "zone_taken": lambda view: replace(view, zone_taken=False),
    "free_cpu": lambda view: capable(view, free_cpu_millis=2**63 - 1),
    "free_memory": lambda view: capable(view, free_memory_bytes=2**63 - 1),
    "load": lambda view: capable(view, load_millis=0),
    "tags": lambda view: replace(view, profile=profile_with(view, tags=("gpu", "ssd", "x"))),
    "near": lambda view: replace(view, neighbours=view.neighbours | {"db"}),
}


def profile_with(view: View, **fields: object) -> Profile:
    return with_(view.profile, **fields)


def capable(view: View, **fields: int) -> View:
    return replace(view, profile=profile_with(view, capacity=with_(view.profile.capacity, **fields)))


@given(records, views, weights, st.sampled_from(sorted(BETTER)))
def test_gravity_rises_with_each_term(what, view, weight, which) -> None:
    assert weigh(what, BETTER[which](view), weight).gravity >= weigh(what, view, weight).gravity


@given(records, views, weights)
def test_weighing_twice_gives_the_same(what, view, weight) -> None:
    assert weigh(what, view, weight) == weigh(what, view, weight)
