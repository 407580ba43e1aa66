"""A forwarded request whose node fails: parked again while there is time, told of at once, answered elsewhere."""

import time
from concurrent.futures import ThreadPoolExecutor

from falak import _native as native
from tests.integration.native.front import Front, MakeFront, aot, make_front, two_fronts

__all__ = ["aot", "make_front", "two_fronts"]
TwoFronts = tuple[Front, Front]
STRANGERS = [native.peer_id(bytes([n]) * 32) for n in range(6)]
"""Peers that nobody is linked to."""


def test_after_the_last_endpoint_failed_it_is_parked_and_told_of(make_front: MakeFront) -> None:
    entry = make_front()
    entry.forward(STRANGERS[0])
    with entry.send("POST", "/upload", body=b"12345") as connection:
        entry.node.wait(native.UNREACHABLE)
        assert entry.node.wait(native.WANTED)[:2] == ("probe", 1)
        entry.serve()
        answer = connection.answer("POST")
    assert answer and answer.text == "5"


def test_more_nodes_may_fail_than_are_tried_at_once(make_front: MakeFront) -> None:
    entry = make_front()
    entry.forward(*STRANGERS)
    with entry.send("GET", "/hello") as connection:
        entry.node.wait(native.WANTED)
        entry.serve()
        answer = connection.answer()
    assert answer and answer.status == 200
    told = [event[2] for event in entry.node.waiting if event[0] == native.UNREACHABLE]
    assert len(told) <= len(STRANGERS)


def test_an_endpoint_that_is_named_again_and_again_is_tried_with_pauses_until_the_time_is_over(
    make_front: MakeFront,
) -> None:
    entry = make_front(park_ms=600)
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(entry.get, "/hello")
        while not waits.done():
            entry.forward(STRANGERS[0])
            entry.node.pump(0.005)
        answer = waits.result()
    assert answer.status == 503 and 0.5 < time.monotonic() - began < 5.0
    tried = sum(event[0] == native.UNREACHABLE for event in entry.node.waiting)
    assert tried < 60, "not as fast as it can"


def test_a_node_that_dies_with_requests_under_way_loses_none_that_can_be_sent_again(
    make_front: MakeFront,
) -> None:
    entry, holder = make_front(), make_front()
    entry.node.dial(holder.node)
    holder.serve()
    local = entry.load()
    entry.forward(holder)
    with entry.send("GET", "/wait/60000") as lost, entry.send("POST", "/wait/60000", body=b"x") as unsafe:
        holder.until("in_flight", 2)
        holder.node.mesh.close()
        assert entry.node.wait(native.UNREACHABLE)[:2] == ("probe", holder.node.id)
        assert entry.node.wait(native.WANTED)[0] == "probe"
        answer = unsafe.answer("POST")
        assert answer and answer.status == 502, "it may have been done already"
        entry.gateway.set_endpoints("probe", [("local", str(local), 0)])
        entry.until("parked", 0)
        assert entry.stats()["in_flight"] == 1, "it is under way here now"
        del lost


def test_all_endpoints_full_is_told_of_and_no_request_refused(make_front: MakeFront) -> None:
    front = make_front()
    number = front.load()
    front.gateway.set_endpoints("probe", [("local", str(number), 0)], 2)
    with ThreadPoolExecutor(6) as pool:
        first = [pool.submit(front.get, "/wait/500")]
        front.until("in_flight", 1)
        assert not [event for event in front.node.waiting if event[0] == native.CROWDED]
        more = [pool.submit(front.get, "/wait/100") for _ in range(5)]
        assert front.node.wait(native.CROWDED) == ("probe",)
        assert {wait.result().status for wait in first + more} == {200}
    assert not [event for event in front.node.waiting if event[0] == native.CROWDED], "once in 200 ms"
    now, taken, most = front.gateway.copies()[number]
    assert (now, taken) == (0, 6) and most == 6
    assert front.gateway.copies()[number] == (0, 6, 0)


def test_a_copy_that_others_send_to_is_full_for_its_own_node(two_fronts: TwoFronts) -> None:
    entry, holder = two_fronts
    number = holder.load()
    holder.gateway.set_endpoints("probe", [("local", str(number), 0)], 1)
    with ThreadPoolExecutor(3) as pool:
        waits = [pool.submit(entry.get, "/wait/300") for _ in range(3)]
        assert holder.node.wait(native.CROWDED) == ("probe",)
        assert {wait.result().status for wait in waits} == {200}
    assert not [event for event in entry.node.waiting if event[0] == native.CROWDED], "nobody told it a bound"


def test_a_loaded_copy_counts_from_nothing_and_an_unloaded_one_not_at_all(make_front: MakeFront) -> None:
    front = make_front()
    assert front.gateway.copies() == {}
    number = front.load()
    assert front.gateway.copies() == {number: (0, 0, 0)}
    front.gateway.unload(number)
    assert front.gateway.copies() == {}
