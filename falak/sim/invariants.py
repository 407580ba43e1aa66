"""What must hold: after every step, at every request's deadline, and once the world is quiet.

A violation raises ``Broken``, which names the seed, the time and the host, so that the run can be repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from falak.core.momentum import ACTIVE, START
from falak.sim.gateway import PARK_S

if TYPE_CHECKING:
    from falak.sim.host import Host
    from falak.sim.world import World

GRACE_S = 1.0
"""A request's end may be late by this much (the last tries of a forward)."""


class Broken(AssertionError):
    """An invariant does not hold."""


def _broken(world: World, where: str, what: str) -> Broken:
    return Broken(f"seed {world.seed}, t={world.now:.6f}, {where}: {what}")


def after_step(world: World, host: Host) -> None:
    """Nothing exceeds its limit, on the host that has just stepped."""
    node, settings = host.node, world.settings
    limits = {
        "copies starting": (
            sum(1 for c in node.momentum.copies.values() if c.state == START),
            settings.starts_max,
        ),
        "records": (len(node.orbits.records), settings.records_max),
        "hosts": (len(node.orbits.hosts), settings.hosts_max),
        "members": (len(node.members.present()), 256),
    }
    limits |= {name: bound for name, bound in node.election.sizes().items()}
    for name, (size, limit) in limits.items():
        if size > limit:
            raise _broken(world, host.name, f"{name}: {size}, the limit is {limit}")


def requests_end(world: World) -> None:
    """Every request of a live node was answered, or refused with a reason, by its deadline."""
    for request in world.requests:
        late = world.now - request.began_at > PARK_S + GRACE_S
        if not request.outcome and late and world.hosts[request.at].up:
            raise _broken(world, request.at, f"request {request.number} for {request.host} never ended")
        if request.status not in (0, 200) and not request.outcome:
            raise _broken(world, request.at, f"request {request.number} was refused without a reason")


def quiet(world: World) -> None:
    """What holds once nothing is under way."""
    one_holder(world)


def one_holder(world: World) -> None:
    """Once quiet, a slot has one copy that serves, its claim is known to electors, nothing else runs."""
    holders: dict[tuple[str, int], list[str]] = {}
    for host in world.hosts.values():
        if not host.up:
            continue
        for copy in host.node.momentum.copies.values():
            if copy.confirmed and copy.state == ACTIVE:
                holders.setdefault((copy.name, copy.slot), []).append(host.name)
            elif not copy.confirmed:
                raise _broken(world, host.name, f"a copy of {copy.name} runs that nobody elected")
        claims = {(c.capsule, c.slot) for c in host.node.claims.own()}
        serving = {(c.name, c.slot) for c in host.node.momentum.copies.values() if c.confirmed}
        if claims != serving:
            raise _broken(world, host.name, f"claims {sorted(claims)} but serves {sorted(serving)}")
    for slot, names in holders.items():
        if len(names) > 1:
            raise _broken(world, ", ".join(names), f"{slot[0]}/{slot[1]} has {len(names)} holders")
