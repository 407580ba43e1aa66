"""A node in a process of its own, for tests that stop or kill one: run as a script with one JSON argument.

It prints ``{"id", "address"}`` and then answers every ask with its data and every message with the same
message, until its standard input ends. It watches the beats of whoever sends ``watch me``, and sends
``silent`` to a watched node that it finds so.
"""

import json
import select
import sys
from typing import Any, cast

from falak import _native as native


def serve(options: dict[str, Any]) -> None:
    events = native.Events(capacity=4096)
    mesh = native.Mesh(
        events,
        key_seed=int(options["seed"]).to_bytes(32, "big"),
        network_key=bytes.fromhex(options["network_key"]),
        listen=["/ip4/127.0.0.1/tcp/0"],
        blobs=options["blobs"],
        settings=options["settings"],
    )
    poll = select.poll()
    poll.register(events.fileno(), select.POLLIN)
    poll.register(sys.stdin.fileno(), select.POLLHUP)
    while not any(fd == sys.stdin.fileno() for fd, _ in poll.poll(50)):
        events.touch()
        for event in events.drain():
            match cast(tuple[Any, ...], event):
                case (native.LISTENING, address):
                    address = f"{address}/p2p/{mesh.peer_id}"
                    print(json.dumps({"id": mesh.peer_id, "address": address}), flush=True)
                case (native.ASKED, ask, _, data):
                    mesh.answer(ask, data)
                case (native.MESSAGE, peer, data):
                    mesh.send(peer, data)
                    if data == b"watch me":
                        mesh.beat(peer, True)
                case (native.PEER_SILENT, peer, _):
                    mesh.send(peer, b"silent")
    mesh.close()


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
