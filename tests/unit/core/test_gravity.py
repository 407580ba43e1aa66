"""Gravity term by term: what each is worth, that nothing vanishes, and every refusal with its reason."""

import math

import pytest
from msgspec.structs import replace
from msgspec.structs import replace as with_

from falak.core.gravity import Failures, View, Weights, refusal, weigh
from falak.core.model import Capacity, Record, Resources, Wishes
from falak.core.settings import GRAVITY_ONE
from tests.unit.core.rig import GIB, ROOM, profile, record

HERE = View(profile("n1", tags=("gpu",), zone="z1", arch="x86_64"), artifact=2)
PLAIN = record("hello")


def gravity(view: View, what: Record = PLAIN) -> int:
    return weigh(what, view, Weights()).gravity


def having(**capacity: int) -> View:
    return replace(HERE, profile=with_(HERE.profile, capacity=with_(ROOM, **capacity)))


def test_an_idle_node_that_has_all_is_drawn_with_everything() -> None:
    pull = weigh(PLAIN, HERE, Weights())
    assert pull.gravity == GRAVITY_ONE and set(pull.terms.values()) == {1.0}


@pytest.mark.parametrize(
    ("term", "worse"),
    [
        ("cpu", having(load_millis=2000)),
        ("cpu", having(free_cpu_millis=2000)),
        ("memory", having(free_memory_bytes=4 * GIB)),
        ("latency", replace(HERE, rtt_s=0.02)),
        ("locality", replace(HERE, artifact=1)),
        ("locality", replace(HERE, artifact=0)),
        ("locality", replace(HERE, artifact_age_s=24 * 3600.0)),
        ("health", replace(HERE, failures=1.0)),
        ("room", replace(HERE, copies=1)),
    ],
)
def test_each_term_alone_lowers_gravity_by_its_weight(term: str, worse: View) -> None:
    pull = weigh(PLAIN, worse, Weights())
    assert {name for name, value in pull.terms.items() if value < 1.0} == {term}
    share = getattr(Weights(), term) / sum(getattr(Weights(), name) for name in pull.terms)
    assert pull.gravity == pytest.approx(GRAVITY_ONE * (1 - share * (1 - pull.terms[term])), abs=1)


@pytest.mark.parametrize(
    ("wishes", "met"),
    [
        (Wishes(prefer=("gpu",)), 1.0),
        (Wishes(prefer=("gpu", "ssd")), 0.5),
        (Wishes(prefer=("zone=z1", "arch=arm64")), 0.5),
        (Wishes(prefer=("ssd",)), 0.0),
        (Wishes(near="db"), 0.0),
        (Wishes(spread=True), 1.0),
        (Wishes(), 1.0),
    ],
)
def test_affinity_is_the_share_of_wishes_that_are_met(wishes: Wishes, met: float) -> None:
    assert weigh(record("x", wishes=wishes), HERE, Weights()).terms["tags"] == met


def test_near_and_spread_look_around() -> None:
    beside = replace(HERE, neighbours=frozenset({"db"}))
    assert gravity(beside, record("x", wishes=Wishes(near="db"))) == GRAVITY_ONE
    taken = replace(HERE, zone_taken=True)
    assert gravity(taken, record("x", wishes=Wishes(spread=True))) < GRAVITY_ONE
    assert gravity(taken) == GRAVITY_ONE


def test_what_a_capsule_declares_is_taken_off_what_is_free() -> None:
    hungry = record("x", resources=Resources(2000, 4 * GIB))
    assert weigh(hungry, HERE, Weights()).terms["cpu"] == 0.75
    assert weigh(hungry, HERE, Weights()).terms["memory"] == 0.5


def test_undeclared_needs_still_count_the_free_share() -> None:
    assert gravity(having(free_memory_bytes=GIB)) < gravity(having(free_memory_bytes=2 * GIB))


def test_health_outweighs_locality() -> None:
    sick_holder = replace(HERE, failures=2.0, artifact=2)
    healthy_stranger = replace(HERE, artifact=0)
    assert gravity(healthy_stranger) > gravity(sick_holder)
    with pytest.raises(ValueError, match="sick holder"):
        Weights(health=0.1, locality=0.2)


def test_locality_fades_and_never_vanishes() -> None:
    ages = [gravity(replace(HERE, artifact_age_s=days * 86_400.0)) for days in (0, 0.5, 1, 10, 1000)]
    assert ages == sorted(ages, reverse=True) and ages[2] == ages[-1] > gravity(replace(HERE, artifact=0))


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_weights_that_are_none_are_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Weights(cpu=weight)


@pytest.mark.parametrize("name", ["rtt_s", "artifact_age_s", "failures"])
def test_a_number_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a number"):
        weigh(PLAIN, replace(HERE, **{name: math.nan}), Weights())


def test_nonsense_about_others_does_no_harm() -> None:
    odd = replace(HERE, copies=-8, failures=-1.0, rtt_s=-1.0, artifact_age_s=-5.0)
    assert gravity(odd) == GRAVITY_ONE
    nothing = replace(HERE, profile=with_(HERE.profile, capacity=Capacity()))
    assert 0 < gravity(nothing) < GRAVITY_ONE
    boasting = having(free_cpu_millis=2**62, free_memory_bytes=2**62)
    assert gravity(boasting) == GRAVITY_ONE


@pytest.mark.parametrize(
    ("what", "view", "reason"),
    [
        (PLAIN, HERE, ""),
        (PLAIN, replace(HERE, profile=with_(HERE.profile, draining=True)), "it is draining"),
        (with_(PLAIN, orbit="gpu"), HERE, "it does not watch orbit gpu"),
        (with_(PLAIN, runtime="microvm"), HERE, "it has no runtime microvm"),
        (record("x", wishes=Wishes(require=("ssd", "arch=arm64"))), HERE, "it lacks ssd, arch=arm64"),
        (record("x", wishes=Wishes(require=("gpu", "zone=z1", "arch=x86_64"))), HERE, ""),
        (
            record("x", resources=Resources(memory_bytes=16 * GIB)),
            HERE,
            "needs 16384 MiB of memory, 8192 MiB are free",
        ),
        (record("x", resources=Resources(cpu_millis=6500)), HERE, "needs 6.5 cores, 4 are free"),
        (PLAIN, replace(HERE, starts_left=0), "it is busy starting other copies"),
        (
            record("x", wishes=Wishes(away="db")),
            replace(HERE, neighbours=frozenset({"db"})),
            "it runs db, which this capsule keeps away from",
        ),
    ],
)
def test_refusals_have_reasons_for_people(what: Record, view: View, reason: str) -> None:
    assert refusal(what, view) == reason


def test_failures_fade_by_half() -> None:
    failures = Failures(halflife_s=10.0)
    assert failures.weight("a", 0.0) == 0.0
    failures.add("a", 0.0)
    failures.add("a", 10.0)
    assert failures.weight("a", 10.0) == pytest.approx(1.5)
    assert failures.weight("a", 20.0) == pytest.approx(0.75)
    assert failures.weight("a", 5.0) == pytest.approx(1.5)  # time never goes back


def test_failures_take_bounded_room() -> None:
    failures = Failures(halflife_s=10.0, keys_max=3)
    for at, key in enumerate("abcd"):
        failures.add(key, float(at))
    assert failures.weight("a", 3.0) == 0.0 and failures.weight("d", 3.0) == 1.0
