"""What ``falak nodes`` says of where a node's gateway is reached."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("falak._native", reason="the extension is not built: `make build`")

from falak.api.listings import Nothing, nodes
from falak.core.node import Place
from tests.unit.core.rig import Rig


async def nowhere(item: dict[str, Any]) -> None:
    """No item is emitted by a listing."""


@pytest.mark.parametrize(
    "listens, address, reached",
    [
        ("127.0.0.1:8420", "/ip4/10.0.0.7/tcp/7420", "127.0.0.1:8420"),
        ("0.0.0.0:8420", "/ip4/10.0.0.7/tcp/7420/p2p/12D3", "10.0.0.7:8420"),
        ("[::]:8420", "/ip6/fd00::7/tcp/7420/p2p/12D3", "[fd00::7]:8420"),
        ("0.0.0.0:8420", "", "0.0.0.0:8420"),
    ],
)
def test_a_gateway_on_all_addresses_is_reached_by_that_of_the_mesh(
    listens: str, address: str, reached: str
) -> None:
    rig = Rig(place=Place(http=listens))
    rig.begin()
    rig.node.members.addresses = (address,) if address else ()
    desk: Any = SimpleNamespace(node=rig.node)
    (row,) = asyncio.run(nodes(desk, Nothing(), nowhere))
    assert row["http"] == reached
