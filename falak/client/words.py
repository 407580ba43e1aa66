"""Events and stages in plain words: what a node did, without its subject. Owns the words, for all who tell.

A field that is not there (an event of another version) makes the sentence fall back to the event's own fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from falak.client.shapes import Stage
from falak.core.quorum import needed
from falak.core.settings import ELECTORS, GRAVITY_ONE

Event = Mapping[str, Any]

HEAD_FIELDS: Final = frozenset({"n", "at", "node", "event", "cause", "capsule"})
"""Fields that stand in every event; the others are its own."""
USUAL_ACKS: Final = needed(ELECTORS)


def words_of(event: Event) -> str:
    """One event's sentence."""
    say = SAID.get(event["event"])
    if say:
        try:
            return say(event)
        except (KeyError, TypeError, ValueError):
            pass
    return f"{event['event']} {fields_text(event)}".rstrip()


def fields_text(event: Event) -> str:
    """An event's own fields as ``key=value``; ranks and gravities as in every sentence."""
    shown = ((key, _SHOWN.get(key, _value)(value)) for key, value in event.items() if key not in HEAD_FIELDS)
    return " ".join(f"{key}={value}" for key, value in shown)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{key}:{_value(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    text = str(value)
    return f'"{text}"' if " " in text else text


def details_of(event: Event) -> str:
    """What a gravity is made of (each term 0 to 1), or what a convener took the candidates' gravities for; ""
    for other events."""
    if event.get("terms"):
        return ", ".join(f"{name} {value:.2f}" for name, value in event["terms"].items())
    ranked = zip(event.get("candidates", ()), event.get("gravities", ()), strict=False)
    told = ", ".join(f"{name} {gravity_text(gravity)}" for name, gravity in ranked)
    return f"taken for: {told}" if told else ""


def gravity_text(gravity: int) -> str:
    """Gravity as people read it: 0 to 1."""
    return f"{gravity / GRAVITY_ONE:.3f}"


_SHOWN: Final[Mapping[str, Callable[[Any], str]]] = {
    "rank": lambda rank: str(rank + 1),
    "gravity": gravity_text,
    "gravities": lambda gravities: ",".join(map(gravity_text, gravities)),
}
"""Fields that people read otherwise than programs do."""


def began_at(events: Sequence[Event]) -> float:
    """When the story of a request begins: as it came in. That it was parked was recorded a moment later, and its
    answer says how long it took in all."""
    parked = next((event for event in events if event["event"] == "request.parked"), events[0])
    answers = (e for e in events if e["event"] == "request.answered" and e["node"] == parked["node"])
    came_in = [event["at"] - event.get("total_ms", 0.0) / 1000 for event in answers]
    return float(min([parked["at"], *came_in]))


def told(events: Sequence[Event], terms: bool) -> list[str]:
    """A request's story, a line an event: milliseconds since it came in, the node, what it did. ``terms``: with
    the gravities and what they are made of."""
    began = began_at(events)
    width = max(len(event["node"]) for event in events)
    lines = []
    for event in events:
        since = f"{(event['at'] - began) * 1000:8.1f} ms"
        lines.append(f"{since}  {event['node']:<{width}}  {words_of(event)}")
        details = details_of(event) if terms else ""
        if details:
            lines.append(f"{'':{len(since) + width + 4}}{details}")
    return lines


def stage_text(stage: Stage) -> str:
    """One stage of a launch: what it took and what came of it."""
    said = ""
    if stage["stage"] == "taken":
        said = f"{stage['size_bytes'] / 1024:.1f} KiB, sha256 {stage['digest'][:12]}"
    elif stage["stage"] == "kept":
        said = f"generation {stage['generation']}, kept so far by {' '.join(stage['keepers']) or 'this node alone'}"
    elif stage["stage"] == "called":
        said = f"status {stage['status']}"
    return f"{stage['stage']:<8} {stage['ms']:8.1f} ms  {said}".rstrip()


def _called(event: Event) -> str:
    slot = f" for slot {event['slot']}" if event.get("slot") else ""
    epoch = event.get("epoch", 1)
    again = f" (epoch {epoch})" if epoch > 1 else ""
    ranked, electors = " ".join(event["candidates"]), " ".join(event["electors"])
    return f"called an election{slot}{again} for {event['caller']}: ranked {ranked}; electors {electors}"


def _proposed(event: Event) -> str:
    return f"proposed itself, rank {event['rank'] + 1}, with gravity {gravity_text(event['gravity'])}"


def _won(event: Event) -> str:
    acks, electors = event["acks"], event["electors"]
    said = f"won with {len(acks)} {'ack' if len(acks) == 1 else 'acks'}: {' '.join(acks)}"
    if needed(electors) < USUAL_ACKS:
        said += f" (of {electors} that vote: the mesh is too small for {USUAL_ACKS} acks)"
    return said


def _started(event: Event) -> str:
    return f"started generation {event['generation']}, loaded in {event['load_ms']:.1f} ms"


def _answered(event: Event) -> str:
    parked, whole = event["parked_ms"], event["total_ms"]
    return f"answered: parked for {parked:.1f} ms, first byte {whole:.1f} ms after the request came in"


SAID: Final[Mapping[str, Callable[[Event], str]]] = {
    "request.parked": lambda event: "parked a request: it knew nobody who runs the capsule",
    "request.refused": lambda event: f"refused the request with {event['status']}: {event['reason']}",
    "request.answered": _answered,
    "election.called": _called,
    "election.declined": lambda event: f"declined: {event['reason']}",
    "election.proposed": _proposed,
    "election.ack": lambda event: f"acked {event['candidate']}",
    "election.won": _won,
    "momentum.started": _started,
    "momentum.failed": lambda event: f"its copy failed: {event['reason']}",
    "momentum.ended": lambda event: f"its copy ended: {event['reason']}",
}
"""The sentence for each event of a request's story."""
