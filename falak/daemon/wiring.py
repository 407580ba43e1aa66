"""A node's process from its start to its end: what is made in which order, joined to what, and taken down.

``run`` is its door. It owns no rule of the mesh. Order: folder, keys, disk, sockets, core, control API; the end
goes the other way round, once the node has drained: claims ended, requests under way answered, goodbye said.
Whatever a person must put right is an ``OperatorError``; nothing is left behind then.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import msgspec
import uvloop

from falak.api import peers
from falak.api.desk import Desk
from falak.api.notes import Notes
from falak.api.server import ControlServer
from falak.config import UpOptions
from falak.core import effects as ef
from falak.core import events as ev
from falak.core.model import Identity
from falak.core.node import Node, Place
from falak.daemon import opening
from falak.daemon.disk import Disk
from falak.daemon.folder import DataFolder
from falak.daemon.journal import write_to_stderr
from falak.daemon.loop import Loop
from falak.daemon.perform import Rooms, perform
from falak.daemon.sampling import Sampler
from falak.errors import FAILED, OperatorError
from falak.files import write_whole
from falak.gateway.front import Front
from falak.mesh.asks import Asks
from falak.mesh.identity import Keys, boot_id
from falak.mesh.links import Links
from falak.mesh.tickets import Ticket, decode_ticket, encode_ticket
from falak.runtimes.wasm import Wasm
from falak.seam import (
    EVENTS_CAPACITY,
    AskAnswered,
    Asked,
    BlobFetched,
    DialEnded,
    Events,
    Fatal,
    FramesLost,
    Listening,
    Loaded,
    Reader,
    Told,
    peer_id,
)
from falak.snapshots.store import Store
from falak.whereabouts import data_folder

log = logging.getLogger(__name__)

ENDING: Final = (signal.SIGTERM, signal.SIGINT)
SWITCH_INTERVAL_S: Final = 0.0005
"""A thread that holds Python's lock gives it up after this long: an election's step waits no longer."""
SAMPLE_S: Final = 1.0
GOODBYE_S: Final = 0.3
"""The last messages of a node that leaves are given this long to go out."""
DRAIN_SLACK_S: Final = 2.0
"""A node that drains ends this long after its copies' grace at the latest, whatever its core says."""
PARKED_S: Final = 2.0
"""Requests that wait at a node that leaves have this long to be answered from elsewhere."""
PARKED_LOOK_S: Final = 0.02
TRYING_TOLD_S: Final = 1.0
"""A join that takes longer than this is told of."""
ANSWER_FIRST_S: Final = 0.05
"""Who asks for this node's end through the API is answered before it begins."""


def run(options: UpOptions) -> int:
    """Run a node until it is told to end (SIGTERM, SIGINT, or ``leave``): 0. Raises ``OperatorError`` when it
    cannot start, is refused by the mesh it was to join, or must end. The process ends with it: its signals are
    not heard any more."""
    write_to_stderr()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    tickets = [decode_ticket(text) for text in options.join]
    folder = DataFolder(options.data)
    folder.open()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_up(options, folder, tickets))
    finally:
        folder.close()
        for number in ENDING:  # asked once more while Python takes itself down, a good end stays one
            signal.signal(number, signal.SIG_IGN)


async def _up(options: UpOptions, folder: DataFolder, tickets: list[Ticket]) -> int:
    process = NodeProcess(options, folder, opening.keys(folder, tickets))
    try:
        await process.begin(tickets)
        return await process.ended
    finally:
        await process.close()


class NodeProcess:
    """One running node. ``ended`` is its exit code, or the ``OperatorError`` it ends with; ``leaving``: it was
    told to end, and drains."""

    def __init__(self, options: UpOptions, folder: DataFolder, keys: Keys) -> None:
        self._options, self._folder, self._keys = options, folder, keys
        self._asyncio = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = self._asyncio.create_future()
        me = Identity(peer_id(keys.key_seed), options.name, boot_id(), zone=options.zone)
        self._sampler = Sampler()
        self._sample_timer: asyncio.TimerHandle | None = None
        self._namesakes: set[str] = set()
        self._store = Store(folder.artifacts)
        digests = opening.artifacts(self._store)
        events = Events(capacity=EVENTS_CAPACITY)
        memory_bytes = self._sampler.sample().memory_bytes
        self._mesh = opening.mesh(events, keys, options.listen, folder.artifacts, memory_bytes)
        try:
            self._gateway = opening.gateway(events, self._mesh, options.http, options.settings)
        except OperatorError:
            self._mesh.close()
            raise
        self._events, self._digests = events, digests
        place = Place(options.orbits, options.tags, os.uname().machine, http=self._gateway.address)
        self.node = Node(me, place, options.settings, int.from_bytes(os.urandom(8)))
        self._reader = Reader(me.id)
        self._loop = Loop(self.node, events, self._reader.read)
        self._links, self._asks = Links(self._mesh), Asks(self._mesh)
        self._front = Front(self._gateway, self._loop.tell)
        self._disk = Disk(folder, self._loop.tell)
        self._wasm = Wasm(self._gateway, folder.path, self._store.path, self._told_by_runtime)
        self._notes = Notes(options.name)
        self._desk = self._new_desk()
        self._rooms = self._new_rooms(me.id)
        self._server = ControlServer(self._desk)
        self._listening: list[str] = []
        self._heard = asyncio.Event()
        self.leaving = False
        self._parked_until = 0.0
        self._on_terminal = sys.stderr.isatty()
        self._adapters = self._adapter_table()

    def _new_desk(self) -> Desk:
        return Desk(
            node=self.node,
            notes=self._notes,
            gateway=self._gateway,
            data=self._folder.path,
            http=self._front.address,
            tell=self._loop.tell,
            ask=self._asks.ask,
            take=self._store.take,
            prepared=self._wasm.prepared,
            discard=self._store.discard,
            ticket=self._ticket,
            counters=self._counters,
            leave=self._end_soon,
        )

    def _new_rooms(self, me: str) -> Rooms:
        return Rooms(
            me=me,
            key_seed=self._keys.key_seed,
            mesh=self._mesh,
            links=self._links,
            front=self._front,
            store=self._store,
            disk=self._disk,
            notes=self._notes,
            runtimes={"wasm": self._wasm},
            running={},
            published=self._desk.published,
            joined=self._joined,
            left=self._left,
        )

    # --- the beginning -----------------------------------------------------------------------------------

    async def begin(self, tickets: list[Ticket]) -> None:
        """Bring the node up; what becomes of it is ``ended``."""
        for number in ENDING:  # not the loop's own handlers: it drops them before the process is over
            signal.signal(number, self._told_to_end)
        opening.runtime(self._wasm)
        self._loop.start(lambda effect: perform(self._rooms, effect), self._route)
        addresses = await self._addresses()
        await opening.control(self._server, self._folder.socket)
        if self._options.ready_file:
            self._options.ready_file.unlink(missing_ok=True)
        self._sample()
        opening.check_profile(msgspec.structs.replace(self.node.profile(), addresses=addresses))
        stored = opening.stored(self._folder)
        contacts = opening.contacts(tickets, stored.book, self.node.me.id)
        self._loop.tell(
            ev.Begin(
                stored.incarnation + 1,
                addresses,
                contacts,
                bool(tickets),
                stored.records,
                self._digests,
                stored.previous,
                stored.away_s(time.time()),
            )
        )
        if contacts:
            self._asyncio.call_later(TRYING_TOLD_S, self._say_trying, contacts)
        gc.freeze()  # what is there now stays: the collector need not look at it in the midst of an election
        gc.enable()  # `falak up` keeps it away from the start

    async def _addresses(self) -> tuple[str, ...]:
        async with asyncio.timeout(opening.LISTEN_S):
            await self._heard.wait()
        if opening.is_wildcard(self._options.listen):
            await asyncio.sleep(opening.INTERFACES_S)
        return opening.advertised(self._listening, self.node.me.id)

    def _listens(self, told: Listening) -> None:
        self._listening.append(told.address)
        self._heard.set()

    def _say_trying(self, contacts: tuple[str, ...]) -> None:
        if self.node.members.joined or self.ended.done():
            return
        most_s = self._options.settings.join_s
        if not self._on_terminal:
            log.info("no node answers yet", extra={"fields": {"at": contacts, "tries_for_s": most_s}})
            return
        from falak.daemon.greeting import trying  # noqa: PLC0415  only on a terminal

        print(trying(contacts, most_s), file=sys.stderr, flush=True)

    def _joined(self, effect: ef.Joined) -> None:
        if not effect.why:
            if effect.alone:
                known = {"reasons": self._links.failed}
                log.warning("alone: none of the nodes it knows answered, trying on", extra={"fields": known})
            self._say_hello()
            self._write_ready_file()
        elif effect.refused:
            self._fail(effect.why, "ask whoever runs that mesh; nothing was changed there")
        else:
            reasons = {"why": effect.why, "reasons": self._links.failed}
            log.warning("not joined yet, trying on", extra={"fields": reasons})

    def _say_hello(self) -> None:
        """To people on a terminal, to the log elsewhere."""
        name, http = self.node.me.name, self._front.address
        if not self._on_terminal:
            log.info("joined", extra={"fields": {"node": name, "http": http}})
            return
        from falak.daemon.greeting import hello  # noqa: PLC0415  only on a terminal

        others = len(self.node.members.present()) - 1
        text = hello(name, others, http, self._folder.path, data_folder(None, os.environ))
        print(text, file=sys.stderr, flush=True)

    def _write_ready_file(self) -> None:
        if self._options.ready_file is None:
            return
        ready = {
            "id": self.node.me.id,
            "name": self.node.me.name,
            "addresses": self.node.members.addresses,
            "http": self._front.address,
            "ticket": self._ticket(),
        }
        try:
            write_whole(self._options.ready_file, msgspec.json.encode(ready) + b"\n", durable=False)
        except OSError as error:
            self._fail(
                f"the ready file {self._options.ready_file} cannot be written: {error.strerror}",
                "give a path in a folder that this user may write to",
            )

    def _ticket(self) -> str:
        return encode_ticket(self._keys.network_key, self.node.members.addresses)

    # --- events of adapters ------------------------------------------------------------------------------

    def _adapter_table(self) -> dict[type, Callable[[Any], ev.Event | None]]:
        return {
            Listening: self._listens,
            DialEnded: self._links.dial_ended,
            FramesLost: self._links.lost,
            Asked: lambda told: self._asks.answer(told.ask, peers.answer(self._desk, told.data)),
            AskAnswered: self._asks.answered,
            BlobFetched: self._store.fetched,
            Loaded: self._wasm.loaded,
            Fatal: lambda told: self._fail(told.why, "please report it with the lines above"),
        }

    def _route(self, told: Told) -> ev.Event | None:
        adapter = self._adapters.get(type(told))
        return told if adapter is None else adapter(told)  # type: ignore[return-value]  # by the table

    def _told_by_runtime(self, event: ev.Event) -> None:
        if isinstance(event, ev.StartFailed | ev.Ended):
            self._rooms.running.pop(event.instance, None)
        self._loop.tell(event)

    def _sample(self) -> None:
        self._warn_of_namesakes()
        self._loop.tell(ev.Sampled(self._sampler.sample(), self._front.used(), time.time()))
        self._sample_timer = self._asyncio.call_later(SAMPLE_S, self._sample)

    def _warn_of_namesakes(self) -> None:
        """Names are labels, nothing breaks; but people cannot tell such nodes apart."""
        me, members = self.node.me, self.node.members
        others = {peer for peer in members.present() if peer != me.id and members.name_of(peer) == me.name}
        for peer in sorted(others - self._namesakes):
            said = {"name": me.name, "id": me.id, "other": peer, "hint": "give one of them another with --name"}
            log.warning("another node of this mesh has the same name", extra={"fields": said})
        self._namesakes = others

    def _counters(self) -> dict[str, Any]:
        return {
            "core": dict(self.node.turn.counters),
            "mesh": self._mesh.counters() | self._links.counters,
            "events": self._events.counters() | self._reader.refused,
            "gateway": self._gateway.stats(),
            "loop": self._loop.counters | self._front.counters,
        }

    # --- the end -----------------------------------------------------------------------------------------

    def _end_soon(self) -> None:
        self._asyncio.call_later(ANSWER_FIRST_S, self._end)

    def _told_to_end(self, number: int, frame: object) -> None:
        if not self._asyncio.is_closed():
            self._asyncio.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        """Drain, then go. Told again, or with a core that does not come to it: go."""
        if self.leaving:
            self._end_now()
            return
        self.leaving = True
        self._asyncio.call_later(self.node.settings.drain_grace_s + DRAIN_SLACK_S, self._end_now)
        self._loop.tell(ev.Leave())

    def _left(self) -> None:
        """Nothing runs here any more. Requests that wait here get their answer from elsewhere first."""
        self._parked_until = self._asyncio.time() + PARKED_S
        self._go_once_none_waits()

    def _go_once_none_waits(self) -> None:
        if self._front.parked() == 0 or self._asyncio.time() > self._parked_until:
            self._end_now()
        else:
            self._asyncio.call_later(PARKED_LOOK_S, self._go_once_none_waits)

    def _end_now(self) -> None:
        if not self.ended.done():
            self.ended.set_result(0)

    def _fail(self, what: str, hint: str) -> None:
        if not self.ended.done():
            self.ended.set_exception(OperatorError(what, hint, FAILED))

    async def close(self) -> None:
        """Say goodbye if the node is sound, then take down what stands."""
        said_goodbye = self.ended.done() and not self.ended.cancelled() and self.ended.exception() is None
        if said_goodbye:
            self._loop.tell(ev.Leave())  # it was, unless the end came before that
            with suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    while self._links.unsent() > 0:
                        await asyncio.sleep(0.005)
        if self._sample_timer is not None:
            self._sample_timer.cancel()
        await self._server.close()
        await self._wasm.close()
        self._loop.stop()
        self._gateway.close()
        self._mesh.close()
        self._disk.close()
        if self._on_terminal and said_goodbye:
            from falak.daemon.greeting import goodbye  # noqa: PLC0415  only on a terminal

            print(goodbye(self.node.me.name), file=sys.stderr, flush=True)
        else:
            log.info("ended", extra={"fields": {"node": self.node.me.name}})
