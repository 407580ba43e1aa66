"""Operations that one node answers from what it knows: itself, members, orbits, capsules, counters, leaving.

Owns the shape of their rows (fields may be added, never renamed); it looks and changes nothing but ``leave``.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

import falak
from falak.api.desk import Desk, Emit
from falak.core.artifacts import HERE, NOTHING, PREPARED
from falak.core.keeping import Held
from falak.core.model import ALIVE, Capacity, Profile
from falak.core.orbits import default_host
from falak.seam import WASMTIME_VERSION

_LEVELS: Final = {NOTHING: "nothing", HERE: "here", PREPARED: "prepared"}


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No arguments."""


async def node(desk: Desk, arguments: Nothing, emit: Emit) -> dict[str, Any]:
    """This node."""
    me, place, members = desk.node.me, desk.node.place, desk.node.members
    return {
        "id": me.id,
        "name": me.name,
        "addresses": list(members.addresses),
        "http": desk.http,
        "ticket": desk.ticket(),
        "data": str(desk.data),
        "version": falak.__version__,
        "wasmtime": WASMTIME_VERSION,
        "cluster": me.cluster,
        "zone": me.zone,
        "orbits": list(place.orbits),
        "tags": list(place.tags),
        "joined": members.joined,
    }


async def nodes(desk: Desk, arguments: Nothing, emit: Emit) -> list[dict[str, Any]]:
    """Members as this node sees them, itself included, by name."""
    members = desk.node.members
    rows = [_row(desk.node.profile(), ALIVE, 0.0, True, True)]
    for member in members.members.values():
        if member.state:  # without a state it was only heard of
            row = _row(member.profile, member.state, member.rtt_s, member.linked, False)
            rows.append(row | {"evidence": member.evidence})
    return sorted(rows, key=lambda row: (row["name"], row["id"]))


def _row(profile: Profile, state: str, rtt_s: float, linked: bool, is_self: bool) -> dict[str, Any]:
    return {
        "name": profile.node.name,
        "id": profile.node.id,
        "state": state,
        "cluster": profile.node.cluster,
        "zone": profile.node.zone,
        "orbits": list(profile.orbits),
        "tags": list(profile.tags),
        "addresses": list(profile.addresses),
        "http": _reachable(profile),
        "incarnation": profile.incarnation,
        "capacity": _capacity(profile.capacity),
        "claims": profile.claims,
        "rtt_ms": round(rtt_s * 1000, 3),
        "linked": linked,
        "stores": not profile.cannot_store,
        "draining": profile.draining,
        "self": is_self,
        "evidence": "",
    }


def _reachable(profile: Profile) -> str:
    """Where its gateway is reached: one that listens on all addresses, by that of its mesh."""
    host, _, port = profile.http.rpartition(":")
    if host not in ("0.0.0.0", "[::]") or not profile.addresses:
        return profile.http
    _, family, address, *_ = profile.addresses[0].split("/")
    return f"[{address}]:{port}" if family == "ip6" else f"{address}:{port}"


def _capacity(capacity: Capacity) -> dict[str, int]:
    return {name: getattr(capacity, name) for name in capacity.__struct_fields__}


async def orbits(desk: Desk, arguments: Nothing, emit: Emit) -> list[dict[str, Any]]:
    """Orbits that somebody watches or a known capsule is in, by name."""
    members, records = desk.node.members, desk.node.orbits.records
    watchers: dict[str, list[str]] = {}
    for peer in members.present():
        profile = members.profile_of(peer)
        for orbit in profile.orbits if profile else ():
            watchers.setdefault(orbit, []).append(members.name_of(peer))
    capsules: dict[str, list[str]] = {}
    for name, held in records.items():
        capsules.setdefault(held.record.orbit, []).append(name)
    watched = desk.node.place.orbits
    return [
        {
            "orbit": orbit,
            "watched": orbit in watched,
            "watchers": sorted(watchers.get(orbit, ())),
            "capsules": sorted(capsules.get(orbit, ())),
        }
        for orbit in sorted({*watchers, *capsules})
    ]


async def capsules(desk: Desk, arguments: Nothing, emit: Emit) -> list[dict[str, Any]]:
    """Capsules whose record this node knows, by name."""
    return [_capsule(desk, name, held) for name, held in sorted(desk.node.orbits.records.items())]


def _capsule(desk: Desk, name: str, held: Held) -> dict[str, Any]:
    core, record = desk.node, held.record
    levels = [core.artifacts.level(artifact.digest) for artifact in record.artifacts]
    return {
        "name": name,
        "version": record.version,
        "generation": record.generation,
        "orbit": record.orbit,
        "kind": record.kind,
        "runtime": record.runtime,
        "publisher": core.members.name_of(held.signed.publisher),
        "keepers": [core.members.name_of(peer) for peer in core.orbits.keepers_of(name)],
        "kept_here": core.orbits.is_kept(name),
        "artifact": _LEVELS[min(levels, default=PREPARED)],
        "ttl_s": record.ttl_s,
        "left_s": core.orbits.presence.visible(name).left_ms / 1000,
        "keep": record.keep,
        "not_after": record.not_after_s,
        "hosts": [default_host(name), *dict.fromkeys(route.host for route in record.routes)],
        "size_bytes": sum(artifact.size_bytes for artifact in record.artifacts),
    }


async def counters(desk: Desk, arguments: Nothing, emit: Emit) -> dict[str, Any]:
    """Everything that is counted here."""
    return desk.counters()


async def leave(desk: Desk, arguments: Nothing, emit: Emit) -> dict[str, Any]:
    """End this node on purpose, as SIGTERM does; the answer comes first."""
    desk.leave()
    return {}
