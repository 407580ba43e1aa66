"""``withdraw`` and ``rollback``: a capsule taken out of its orbit for good, and its last generation but one back.

Owns the waits and what is told of them. A withdrawal is done when its tombstone is kept and no node of the mesh runs
a copy any more; nodes that do not answer are named: they drain when they meet the tombstone.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import msgspec

from falak.api.desk import Desk, Emit
from falak.api.gather import Gathering
from falak.api.launch import published
from falak.api.peers import Wish
from falak.core.events import Rollback, Withdraw
from falak.errors import FAILED, USAGE, OperatorError
from falak.seam import is_label

LOOK_S: Final = 0.1
"""Between two looks at what still runs."""
SLACK_S: Final = 5.0
"""Copies are waited for this much longer than their grace."""


class Named(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of what is about one capsule."""

    name: str


async def withdraw(desk: Desk, arguments: Named, emit: Emit) -> dict[str, Any]:
    """Have a capsule withdrawn and wait until its copies are gone. Raises ``OperatorError`` (exit 1) naming the
    nodes that still run one, or did not say."""
    name = _checked(arguments.name)
    done = await published(desk, lambda request: Withdraw(request, name), name, "withdrawn")
    await emit({"generation": done.generation, "keepers": list(done.keepers), "changed": done.changed})
    gathering = Gathering(desk, "ps", Wish(name))
    drained: dict[str, None] = {}
    ends_at = time.monotonic() + desk.node.settings.drain_grace_s + SLACK_S
    while True:
        running = sorted({row["node"] for row in await gathering.round() if row["capsule"] == name})
        drained.update(dict.fromkeys(running))
        if not running and not gathering.missing:
            return {
                "name": name,
                "generation": done.generation,
                "keepers": list(done.keepers),
                "changed": done.changed,
                "drained": sorted(drained),
            }
        if time.monotonic() > ends_at:
            raise _unfinished(name, running, gathering.missing)
        await asyncio.sleep(LOOK_S)


def _unfinished(name: str, running: list[str], missing: list[str]) -> OperatorError:
    told = [f"{', '.join(running)} still runs it"] if running else []
    told += [f"{', '.join(missing)} did not say whether it does"] if missing else []
    return OperatorError(
        f"{name} is withdrawn, but {'; '.join(told)}",
        "a node drains when it meets the tombstone; `falak withdraw` again waits again",
        FAILED,
    )


async def rollback(desk: Desk, arguments: Named, emit: Emit) -> dict[str, Any]:
    """Publish the generation before the newest anew, as the next one."""
    name = _checked(arguments.name)
    done = await published(desk, lambda request: Rollback(request, name), name, "rolled back")
    record = desk.node.orbits.get(name)
    return {
        "name": name,
        "generation": done.generation,
        "version": record.version if record else "",
        "keepers": list(done.keepers),
        "changed": done.changed,
    }


def _checked(name: str) -> str:
    if not is_label(name):
        raise OperatorError(
            f"{name!r} is no name of a capsule", "small letters, digits and hyphens, at most 63", USAGE
        )
    return name
