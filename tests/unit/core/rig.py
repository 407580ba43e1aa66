"""One node whose driver is the test: others exist only in what is said in their name.

Effects that concern the node alone (disk, signing, fetching, preparing) are carried out at once; starting and
stopping copies is left to the test. A member ``n2`` has the id ``n2-id``; the node itself is ``n1``.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from falak.core import effects as ef
from falak.core import events as ev
from falak.core import wire
from falak.core.model import Artifact, Capacity, Claim, Identity, Profile, Record, SignedRecord, encode_record
from falak.core.node import Node, Place
from falak.core.rendezvous import electors
from falak.core.settings import Settings

GIB = 1024**3
ROOM = Capacity(4000, 8 * GIB, 4000, 8 * GIB, 0)
ARTIFACT = Artifact("a" * 64, 100, "application/wasm")
E = TypeVar("E", bound=ef.Effect)
M = TypeVar("M", bound=wire.Message)


def profile(name: str, boot: int = 1, incarnation: int = 1, **fields: object) -> Profile:
    """What a member says of itself, with defaults that let it run anything."""
    node = Identity(f"{name}-id", name, boot, str(fields.pop("cluster", "main")), str(fields.pop("zone", "")))
    said: dict[str, object] = {
        "addresses": (f"/{name}",),
        "orbits": ("default",),
        "runtimes": ("wasm",),
        "capacity": ROOM,
    }
    return Profile(node, incarnation, **(said | fields))  # type: ignore[arg-type]


def record(name: str, generation: int = 1, **fields: object) -> Record:
    """A capsule without artifacts: it can start at once."""
    return Record(name, generation, str(fields.pop("version", "1")), "default", **fields)  # type: ignore[arg-type]


def signed(what: Record, publisher: str = "n2-id") -> SignedRecord:
    return SignedRecord(encode_record(what), publisher, b"signature")


def handed(*records: SignedRecord) -> wire.Records:
    """Records as a node hands them over that has them since this moment and heard of no renewal."""
    return wire.Records(records, tuple(wire.Visible(0, 300_000) for _ in records))


def claim(capsule: str, holder: str, **fields: int | bool | str) -> Claim:
    """A ready claim of generation 1, slot 0, boot 1, sequence 1, epoch 1, gravity 500,000."""
    said: dict[str, int | bool | str] = {
        "generation": 1, "slot": 0, "boot": 1, "sequence": 1, "epoch": 1, "gravity": 500_000, "ready": True,
    }  # fmt: skip
    return Claim(capsule=capsule, holder=f"{holder}-id", **(said | fields))  # type: ignore[arg-type]


def capsule_for(names: Iterable[str], wanted: Callable[[list[str]], bool]) -> str:
    """A capsule's name for which the electors among these nodes, by name and in order, are as wanted."""
    ids = [f"{name}-id" for name in names]
    found = (f"c{i}" for i in range(10_000))
    return next(c for c in found if wanted([e.removesuffix("-id") for e in electors(c, ids)]))


class Rig:
    """``node`` and its time, ``now``. ``tell`` steps an event and returns the effects of the whole step."""

    def __init__(self, settings: Settings | None = None, place: Place | None = None, boot: int = 1) -> None:
        self.now = 100.0
        self.node = Node(Identity("n1-id", "n1", boot), place or Place(), settings or Settings(), seed=1)
        self.effects: list[ef.Effect] = []
        self.disk_why = ""
        self.fetch_why = ""
        self.drains = True
        self.tell(ev.Sampled(ROOM))

    # --- driving -----------------------------------------------------------------------------------------

    def tell(self, event: ev.Event) -> list[ef.Effect]:
        self.effects = []
        self._step(event)
        while (due := self.node.next_deadline()) is not None and due <= self.now:
            self._step(ev.Tick())
        return self.effects

    def _step(self, event: ev.Event) -> None:
        for effect in self.node.step(event, self.now):
            self.effects.append(effect)
            answer = self._answer(effect)
            if answer is not None:
                self._step(answer)

    def _answer(self, effect: ef.Effect) -> ev.Event | None:
        match effect:
            case ef.Persist(key, _):
                return ev.Persisted(key, self.disk_why)
            case ef.Sign(request, what):
                return ev.Signed(request, signed(what, "n1-id"))
            case ef.Fetch(artifact, peer):
                return ev.Fetched(artifact.digest, peer, self.fetch_why)
            case ef.Prepare(artifact):
                return ev.Prepared(artifact.digest)
            case ef.DrainCopy(instance) if self.drains:
                return ev.Drained(instance)
        return None

    def hear(self, name: str, message: wire.Message) -> list[ef.Effect]:
        """A message of a member (over its bytes, as in life)."""
        return self.tell(ev.Received(f"{name}-id", wire.decode(wire.encode(message))))

    def wait(self, seconds: float, alive: tuple[str, ...] = ()) -> list[ef.Effect]:
        """Let time pass, tick by tick, with a heartbeat a second of those ``alive``; the effects of it all."""
        gathered: list[ef.Effect] = []
        while alive and seconds > 1.0:
            gathered += self.wait(1.0)
            seconds -= 1.0
            for name in alive:
                gathered += self.hear(name, wire.Heartbeat(profile(name), 1))
        until = self.now + seconds
        while (due := self.node.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            gathered += self.tell(ev.Tick())
        self.now = until
        self.effects = gathered
        return gathered

    # --- usual beginnings --------------------------------------------------------------------------------

    def begin(self, contacts: tuple[str, ...] = (), **fields: object) -> list[ef.Effect]:
        said: dict[str, object] = {"incarnation": 1, "addresses": ("/n1",), "contacts": contacts}
        return self.tell(ev.Begin(**(said | fields)))  # type: ignore[arg-type]

    def link(self, name: str, dialer: bool = False) -> list[ef.Effect]:
        return self.tell(ev.LinkUp(f"{name}-id", f"/{name}", dialer))

    def meet(self, *names: str, **fields: object) -> None:
        """Links and hellos of members."""
        for name in names:
            self.link(name)
            self.hear(name, wire.Hello(profile(name, **fields)))  # type: ignore[arg-type]

    def lose(self, name: str, refused: bool = True) -> list[ef.Effect]:
        """A member's link closes and it refuses to be dialled (or does not answer)."""
        effects = self.tell(ev.LinkDown(f"{name}-id", "closed"))
        effects += self.tell(ev.DialFailed(f"{name}-id", f"/{name}", refused, "refused"))
        self.effects = effects
        return effects

    def know(self, *records: Record) -> None:
        """Records that were there before: handed over, not announced."""
        self.hear("n2", wire.Records(tuple(signed(r) for r in records)))

    # --- looking -----------------------------------------------------------------------------------------

    def sent(self, kind: type[M], to: str = "") -> list[M]:
        """Messages of a kind among the last effects and those to itself, to anybody or to one."""
        others = [e for e in self.effects if isinstance(e, ef.Send) and (not to or e.peer == f"{to}-id")]
        return [e.message for e in others if isinstance(e.message, kind)]

    def receivers(self, kind: type[wire.Message]) -> list[str]:
        """Who was sent a message of the kind, by name, in order."""
        sends = [e for e in self.effects if isinstance(e, ef.Send) and isinstance(e.message, kind)]
        return [e.peer.removesuffix("-id") for e in sends]

    def did(self, kind: type[E]) -> list[E]:
        """The last effects of a kind."""
        return [e for e in self.effects if isinstance(e, kind)]

    def notes(self, event: str) -> list[dict[str, object]]:
        """The fields of visible events of a name among the last effects."""
        return [dict(e.fields) for e in self.effects if isinstance(e, ef.Note) and e.event == event]

    def count(self, name: str) -> int:
        """How often something odd was counted."""
        return self.node.turn.counters[name]
