"""What must hold: after every step, at every request's deadline, and once the world is quiet.

A violation raises ``Broken``, which names the seed, the time and the host, so that the run can be repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from falak.core.model import Claim, slot_key, slots_max
from falak.core.momentum import ACTIVE
from falak.sim.gateway import PARK_S

if TYPE_CHECKING:
    from falak.sim.host import Host
    from falak.sim.world import World

GRACE_S: Final = 1.0
"""A request's end may be late by this much (the last tries of a forward)."""
NOTHING_LEFT: Final = (
    "calls",
    "ballots",
    "elections waiting",
    "callers of one capsule",
    "candidacies",
    "copies starting",
    "launches",
    "searches",
    "lesser claims",
    "records others wait for",
    "copies wanted",
    "slots to fill",
    "claims outgoing",
)
"""Sizes that are 0 once nothing is under way."""


class Broken(AssertionError):
    """An invariant does not hold."""


def _broken(world: World, where: str, what: str) -> Broken:
    return Broken(f"seed {world.seed}, t={world.now:.6f}, {where}: {what}")


def after_step(world: World, host: Host) -> None:
    """On the host that has just stepped: nothing exceeds its limit, and its gateway sends nothing to a copy
    that does not run."""
    for name, (size, limit) in host.node.sizes().items():
        if size > limit:
            raise _broken(world, host.name, f"{name}: {size}, the limit is {limit}")
    for capsule, endpoints in host.gateway.endpoints.items():
        for endpoint in endpoints:
            if endpoint.instance in host.stopped:
                raise _broken(world, host.name, f"requests for {capsule} go to a copy that was stopped")


def requests_end(world: World) -> None:
    """Every request of a live node was answered, or refused with a reason, by its deadline."""
    for request in world.requests:
        late = world.now - request.began_at > PARK_S + GRACE_S
        same_run = world.hosts[request.at].up and world.hosts[request.at].runs == request.run
        if not request.outcome and late and same_run:
            raise _broken(world, request.at, f"request {request.number} for {request.host} never ended")
        if request.status >= 400 and not request.outcome:
            raise _broken(world, request.at, f"request {request.number} was refused without a reason")
        if request.outcome and request.ended_at - request.began_at > PARK_S + GRACE_S:
            raise _broken(world, request.at, f"request {request.number} ended {request.outcome}, too late")


def quiet(world: World) -> None:
    """What holds once nothing is under way and everybody can reach everybody."""
    views_agree(world)
    nothing_is_left(world)
    one_holder(world)
    slots_are_allowed(world)
    directories_agree(world)
    records_agree(world)


def views_agree(world: World) -> None:
    """Every node that runs has joined and sees exactly those that run."""
    up = tuple(sorted(host.id for host in _up(world)))
    somebody = any(host.joined for host in _up(world))  # else there was nobody to join
    for host in _up(world):
        if host.node.members.present() != up or host.joined != somebody:
            raise _broken(
                world, host.name, f"joined: {host.joined}, sees {host.node.members.present()}, not {up}"
            )


def nothing_is_left(world: World) -> None:
    """Nothing is under way, and nothing runs that the core does not know of."""
    for host in _up(world):
        sizes = host.node.sizes()
        left = {name: sizes[name][0] for name in NOTHING_LEFT if sizes[name][0]}
        if left:
            raise _broken(world, host.name, f"still under way: {left}")
        orphans = set(host.instances) - set(host.node.momentum.copies)
        if orphans:
            raise _broken(world, host.name, f"copies run that the core has forgotten: {sorted(orphans)}")


def one_holder(world: World) -> None:
    """A slot has one copy that serves, whoever claims serves, and nothing runs unelected."""
    holders: dict[tuple[str, int], list[str]] = {}
    for host in _up(world):
        copies = host.node.momentum.copies.values()
        for copy in copies:
            if copy.confirmed and copy.state == ACTIVE:
                holders.setdefault((copy.name, copy.slot), []).append(host.name)
            elif not copy.confirmed:
                raise _broken(world, host.name, f"a copy of {copy.name} runs that nobody elected")
        claims = {(c.capsule, c.slot) for c in host.node.claims.own() if c.ready}
        serving = {(c.name, c.slot) for c in copies if c.confirmed and c.state == ACTIVE}
        if claims != serving:
            raise _broken(world, host.name, f"claims {sorted(claims)} but serves {sorted(serving)}")
    for slot, names in holders.items():
        if len(names) > 1:
            raise _broken(world, ", ".join(names), f"{slot_key(*slot)} has {len(names)} holders")


def slots_are_allowed(world: World) -> None:
    """No copy has a slot at or beyond its record's ``scale.max``, or is of an older generation than a newer one
    that serves."""
    serving = [
        (host, c) for host in _up(world) for c in host.node.momentum.copies.values() if c.state == ACTIVE
    ]
    newest: dict[str, int] = {}
    for _, copy in serving:
        newest[copy.name] = max(newest.get(copy.name, 0), copy.record.generation)
    for host, copy in serving:
        if copy.slot >= slots_max(copy.record):
            raise _broken(world, host.name, f"a copy has the slot {slot_key(copy.name, copy.slot)}")
        if copy.record.generation < newest[copy.name]:
            raise _broken(world, host.name, f"{copy.name}@{copy.record.generation} serves beside a newer one")


def records_agree(world: World) -> None:
    """Nodes that watch the same orbits have the same records and tombstones, and none has both of a name."""
    seen: dict[tuple[str, ...], tuple[str, dict[str, bytes]]] = {}
    for host in _up(world):
        orbits = host.node.orbits
        held = (*orbits.records.items(), *orbits.tombstones.items())
        have = {name: one.digest for name, one in held if one.record.orbit in orbits.watched}
        if orbits.records.keys() & orbits.tombstones.keys():
            raise _broken(world, host.name, "it has a record and a tombstone of one name")
        where, other = seen.setdefault(tuple(sorted(orbits.watched)), (host.name, have))
        if have != other:
            raise _broken(world, host.name, f"its records are {sorted(have)}, those at {where} {sorted(other)}")


def directories_agree(world: World) -> None:
    """Every elector of a capsule lists exactly what is claimed."""
    claimed: dict[str, list[Claim]] = {}
    for host in _up(world):
        for claim in host.node.claims.own():
            claimed.setdefault(claim.capsule, []).append(claim)
    for host in _up(world):
        for name in host.node.orbits.records:
            if host.id not in host.node.orbits.electors_of(name):
                continue
            known = host.node.claims.live(name)
            wanted = sorted(claimed.get(name, []), key=lambda claim: claim.slot)
            if known != wanted:
                raise _broken(world, host.name, f"its directory has {known} for {name}, claimed is {wanted}")


def _up(world: World) -> list[Host]:
    return [host for host in world.hosts.values() if host.up]
