"""Launches with 0, 1, 2 and 3 others, every way they fail, and the search for what a request names."""

import pytest

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.model import Route
from falak.core.settings import GOSSIP_MAX_BYTES, Settings
from tests.unit.core.rig import ARTIFACT, Rig, capsule_for, profile, record, signed

HELLO = record("hello", 0, artifacts=(ARTIFACT,))


def rig_of(others: int, settings: Settings | None = None) -> Rig:
    rig = Rig(settings)
    rig.begin()
    rig.meet(*(f"n{i}" for i in range(2, 2 + others)))
    return rig


def published(rig: Rig) -> list[ef.Published]:
    return rig.did(ef.Published)


def answer_lookups(rig: Rig, found: wire.Found | None = None) -> list[ef.Effect]:
    """Everybody asked says what they know (nothing, if not given)."""
    gathered: list[ef.Effect] = []
    asked = [(e.peer, e.message) for e in rig.did(ef.Send) if isinstance(e.message, wire.Lookup)]
    for peer, message in asked:
        word = found or wire.Found(message.key, message.token)
        gathered += rig.hear(peer.removesuffix("-id"), word)
    rig.effects = gathered
    return gathered


def kept(rig: Rig, name: str, what: wire.Keep, why: str = "") -> list[ef.Effect]:
    return rig.hear(name, wire.Kept("hello", what.record.digest, why))


def test_alone_it_keeps_its_own_capsule() -> None:
    rig = rig_of(0)
    rig.tell(ev.Publish(1, HELLO))
    assert published(rig) == [ef.Published(1, "hello", 1, (), True)]
    assert rig.node.orbits.is_kept("hello")


@pytest.mark.parametrize(("others", "needed"), [(1, 1), (2, 2), (3, 2)])
def test_others_must_keep_it(others: int, needed: int) -> None:
    rig = rig_of(others)
    rig.tell(ev.Publish(1, HELLO))
    answer_lookups(rig)
    (gossip,) = [g for g in rig.did(ef.Gossip) if isinstance(g.message, wire.Announce)]
    assert gossip.topic == "/falak/1/orbit/default"
    keeps = [
        (e.peer.removesuffix("-id"), e.message) for e in rig.did(ef.Send) if isinstance(e.message, wire.Keep)
    ]
    assert len(keeps) >= needed and not published(rig)
    for i, (name, keep) in enumerate(keeps[:needed]):
        kept(rig, name, keep)
        assert len(published(rig)) == (i == needed - 1)
    (result,) = published(rig)
    assert result.generation == 1 and result.changed and not result.why
    assert result.keepers == tuple(sorted(name for name, _ in keeps[:needed]))


def test_the_generation_is_one_more_than_the_electors_know() -> None:
    rig = rig_of(2)
    rig.tell(ev.Publish(1, HELLO))
    older = record("hello", 7, version="0")
    answer_lookups(rig, wire.Found("hello", 1, "hello", 7, signed(older)))
    assert rig.sent(wire.Keep)[0].record == signed(record("hello", 8, artifacts=(ARTIFACT,)), "n1-id")


def test_the_same_content_again_changes_nothing() -> None:
    rig = rig_of(0)
    rig.tell(ev.Publish(1, HELLO))
    rig.tell(ev.Publish(2, HELLO))
    assert published(rig) == [ef.Published(2, "hello", 1, (), False)]


def test_electors_that_do_not_answer_are_asked_again_and_then_done_without() -> None:
    rig = rig_of(2)
    rig.tell(ev.Publish(1, HELLO))
    assert rig.receivers(wire.Lookup) != []
    rig.wait(0.26)
    assert sorted(rig.receivers(wire.Lookup)) == ["n2", "n3"]
    assert not rig.sent(wire.Keep)
    rig.wait(0.26)
    assert rig.sent(wire.Keep)


def test_keepers_that_do_not_answer_are_asked_again() -> None:
    rig = rig_of(2)
    rig.tell(ev.Publish(1, HELLO))
    answer_lookups(rig)
    assert rig.sent(wire.Keep)
    for _ in range(3):
        rig.wait(1.01)
        assert sorted(rig.receivers(wire.Keep)) == ["n2", "n3"]


def test_not_kept_in_time_fails_with_each_keepers_reason() -> None:
    rig = rig_of(2)
    rig.tell(ev.Publish(1, HELLO))
    answer_lookups(rig)
    keep = rig.sent(wire.Keep)[0]
    kept(rig, "n2", keep)
    kept(rig, "n3", keep, "its disk is full")
    rig.wait(20.1, alive=("n2", "n3"))
    (result,) = published(rig)
    assert result.why == "kept by 1 of 2 others within 20 s (n3: its disk is full)"


def test_a_kept_of_somebody_who_was_not_asked_does_not_count() -> None:
    rig = rig_of(2)
    rig.tell(ev.Publish(1, HELLO))
    answer_lookups(rig)
    keep = rig.sent(wire.Keep)[0]
    kept(rig, "n2", keep)
    kept(rig, "stranger", keep)
    assert not published(rig)


def test_a_keeper_that_is_dropped_is_not_waited_for() -> None:
    rig = rig_of(2)
    rig.tell(ev.Publish(1, HELLO))
    answer_lookups(rig)
    kept(rig, "n2", rig.sent(wire.Keep)[0])
    rig.lose("n3")
    rig.wait(1.1)
    (result,) = published(rig)
    assert result.keepers == ("n2",) and not result.why


def test_a_host_of_another_capsule_is_refused_naming_it() -> None:
    rig = rig_of(2)
    rig.tell(ev.Publish(1, record("hello", 0, routes=(Route("shop.example"),))))
    asked = [m for m in rig.sent(wire.Lookup, "n2") if m.key == "host/shop.example"]
    rig.hear("n2", wire.Found("host/shop.example", asked[0].token, "shop"))
    assert not published(rig), "two of three may still give it"
    rig.hear("n3", wire.Found("host/shop.example", asked[0].token, "shop"))
    (result,) = published(rig)
    assert result.why == "host shop.example belongs to capsule shop: choose another host"
    rig.hear("n1", wire.Found("host/shop.example", asked[0].token, "shop"))
    assert not published(rig)


def test_a_host_that_too_few_electors_gave_is_not_taken_for_granted() -> None:
    rig = rig_of(2)
    rig.tell(ev.Publish(1, record("hello", 0, routes=(Route("shop.example"),))))
    for message in rig.sent(wire.Lookup, "n2"):
        if message.key == "hello":
            rig.hear("n2", wire.Found(message.key, message.token))
    rig.wait(Settings().inquiry_s + 0.1)
    (result,) = published(rig)
    assert "have host shop.example" in result.why or "has host shop.example" in result.why
    assert "n2, n3 did not" in result.why and not rig.did(ef.Sign)


def test_ones_own_host_is_no_obstacle() -> None:
    rig = rig_of(2)
    rig.tell(ev.Publish(1, record("hello", 0, routes=(Route("shop.example"),))))
    for message in rig.sent(wire.Lookup, "n2"):
        rig.hear("n2", wire.Found(message.key, message.token, "hello"))
    assert not published(rig)


def test_a_record_that_is_too_large_is_refused_with_its_size() -> None:
    rig = rig_of(0)
    rig.tell(ev.Publish(1, record("hello", 0, env=(("A", "x" * GOSSIP_MAX_BYTES),))))
    (result,) = published(rig)
    assert "bytes" in result.why and "shorten env" in result.why


def test_before_it_joined_a_node_publishes_nothing() -> None:
    rig = Rig()
    rig.begin(("/n2",))
    rig.tell(ev.Publish(1, HELLO))
    assert published(rig)[0].why == "this node has not joined its mesh yet; try again when it has"


def test_launches_at_once_are_bounded() -> None:
    rig = rig_of(2, Settings(publications_max=1))
    rig.tell(ev.Publish(1, HELLO))
    rig.tell(ev.Publish(2, record("other", 0)))
    assert published(rig)[0].why.startswith("1 launches are under way")


def test_a_launch_that_is_overtaken_fails_at_once() -> None:
    rig = rig_of(2)
    rig.tell(ev.Publish(1, HELLO))
    answer_lookups(rig)
    rig.hear("n3", wire.Announce(signed(record("hello", 9), "n3-id")))
    (result,) = published(rig)
    assert result.why == "generation 9, published at n3, replaced it"


def test_a_disk_that_takes_nothing_fails_a_lone_launch_in_time() -> None:
    rig = rig_of(0)
    rig.disk_why = "No space left on device"
    rig.tell(ev.Publish(1, HELLO))
    assert rig.notes("capsule.not_stored") and not published(rig)
    rig.wait(20.1)
    assert published(rig)[0].why


# --- searching ------------------------------------------------------------------------------------------------


def want(rig: Rig, key: str) -> list[ef.Effect]:
    return rig.tell(ev.Wanted(key))


@pytest.mark.parametrize("others", [0, 1, 2])
def test_an_unknown_host_is_404_once_enough_electors_said_so(others: int) -> None:
    rig = rig_of(others)
    want(rig, "host/nope.localhost")
    if others:
        answer_lookups(rig)
    (refuse,) = rig.did(ef.Refuse)
    assert (refuse.key, refuse.status) == ("host/nope.localhost", 404)
    assert refuse.reason == "no capsule answers at nope.localhost (a capsule answers at NAME.localhost)"


def test_believed_for_a_second() -> None:
    rig = rig_of(0)
    want(rig, "host/nope.localhost")
    want(rig, "host/nope.localhost")
    assert rig.did(ef.Refuse) and not rig.node.turn.own
    rig.wait(1.1)
    want(rig, "host/nope.localhost")
    assert rig.node.turn.own


def test_silent_electors_are_asked_again_and_then_it_is_503() -> None:
    rig = rig_of(2)
    want(rig, "host/hello.localhost")
    rig.wait(0.26)
    assert sorted(rig.receivers(wire.Lookup)) == ["n2", "n3"]
    rig.wait(0.26)
    (refuse,) = rig.did(ef.Refuse)
    assert refuse.status == 503 and refuse.reason == "its electors did not answer (n2, n3); try again"


def test_a_record_that_is_found_makes_the_gateway_match_again() -> None:
    rig = rig_of(2)
    want(rig, "host/hello.localhost")
    (token,) = {m.token for m in rig.sent(wire.Lookup)}
    rig.hear("n2", wire.Found("hello", token, "hello", 1, signed(record("hello"))))
    assert rig.did(ef.Retry) == [ef.Retry("host/hello.localhost")]
    assert ef.SetRoutes((("hello.localhost", "/", "hello"),)) in rig.effects


def test_a_declared_host_leads_to_its_capsule() -> None:
    rig = rig_of(2)
    want(rig, "host/shop.example")
    (token,) = {m.token for m in rig.sent(wire.Lookup)}
    rig.hear("n2", wire.Found("host/shop.example", token, "shop"))
    (second,) = {m.token for m in rig.sent(wire.Lookup) if m.key == "shop"}
    shop = record("shop", routes=(Route("shop.example"),))
    rig.hear("n3", wire.Found("shop", second, "shop", 1, signed(shop)))
    assert rig.did(ef.Retry) == [ef.Retry("host/shop.example")]


def test_searches_are_bounded_and_wait_for_the_join() -> None:
    rig = Rig(Settings(searches_max=1))
    rig.begin(("/n2",))
    want(rig, "host/a.localhost")
    assert not rig.did(ef.Refuse)
    want(rig, "host/b.localhost")
    assert rig.did(ef.Refuse)[0].status == 503
    rig.tell(ev.Forgone("host/a.localhost"))
    want(rig, "host/b.localhost")
    rig.meet("n2")
    rig.hear("n2", wire.Welcome((profile("n2"),)))
    assert rig.sent(wire.Lookup)


def test_a_search_under_way_is_not_begun_twice() -> None:
    rig = rig_of(2)
    want(rig, "host/hello.localhost")
    want(rig, "host/hello.localhost")
    assert not rig.effects


def test_unasked_answers_do_no_harm() -> None:
    rig = rig_of(1)
    name = capsule_for(("n1", "n2"), lambda e: True)
    rig.hear("n2", wire.Found(name, 99, name, 1, signed(record(name))))
    assert rig.node.orbits.get(name) is not None  # a record is a record
    rig.hear("n2", wire.Found(name, 99))
