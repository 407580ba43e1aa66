"""The documentation has everything that the code has: verbs, flags, events and their fields, settings, fields.

Each is found by looking at the code, so what is added without its place in the docs fails here.
"""

import ast
import re
import runpy
from pathlib import Path

import pytest

from falak.cli.main import VERBS, parser_of
from falak.config import KEYS, UpOptions
from falak.core import settings
from falak.manifest import from_fields
from falak.tables import Table

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
SHARED_FLAGS = {"--data", "--output", "-o", "--json", "--follow", "-f"}
"""Documented once, at the top."""
EVENT = re.compile(r"(node|capsule|artifact|election|momentum|request)\.[a-z_]+")


def page(name: str) -> str:
    return (REFERENCE / name).read_text()


def part(text: str, heading: str) -> str:
    """What stands under a heading of the second level."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no heading {heading!r}"
    return found[1]


# --- commands ----------------------------------------------------------------------------------------------


def flags_of(verb: str) -> set[str]:
    return set(parser_of(verb).flags())


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_flag_has_its_place(verb):
    text = page("cli.md")
    own, shared = part(text, f"`falak {verb}`"), text.partition("\n## ")[0]
    for flag in flags_of(verb):
        where = shared if flag in SHARED_FLAGS else own
        assert re.search(rf"`{re.escape(flag)}\b", where), f"falak {verb} {flag}"


def test_no_verb_or_flag_is_invented():
    text = page("cli.md")
    assert re.findall(r"^## `falak (\w+)`", text, re.MULTILINE) == list(VERBS)
    real = {"--help", "--version"}.union(*(flags_of(verb) for verb in VERBS))
    written = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", text.replace("python -m falak", "")))
    assert written <= real, written - real


def test_what_up_reads_has_its_variable():
    own = part(page("cli.md"), "`falak up`")
    for key in KEYS:
        assert f"`FALAK_{key.upper()}`" in own
    flags = {flag.replace("-", "_") for flag in re.findall(r"^\| `--([\w-]+)", own, re.MULTILINE)}
    options = {
        field.rstrip("s") if field in ("orbits", "tags") else field for field in UpOptions.__struct_fields__
    }
    assert flags == options - {"settings"}


# --- events ------------------------------------------------------------------------------------------------


def noted() -> dict[str, set[str]]:
    """Every event that the code makes, with its fields."""
    events: dict[str, set[str]] = {}
    for path in sorted((ROOT / "falak").rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                for call in ast.walk(function):
                    if isinstance(call, ast.Call) and _is_note(call):
                        fields = {keyword.arg or "" for keyword in call.keywords}
                        for name in _names(call.args[0], function):
                            events.setdefault(name, set()).update(fields)
    return events


def _is_note(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr == "note" and bool(call.args)


def _names(said: ast.expr, function: ast.FunctionDef) -> set[str]:
    """The event's name, or those that the function may have put into the variable."""
    nodes = ast.walk(said) if not isinstance(said, ast.Name) else ast.walk(function)
    words = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {word for word in words if EVENT.fullmatch(word)}


EVENTS = noted()


def rows() -> dict[str, set[str]]:
    """Event -> the fields that its row names."""
    found = re.findall(r"^\| `([a-z]+\.[a-z_]+)` \| (.*?) \| ", page("events.md"), re.MULTILINE)
    return {event: set(re.findall(r"`(\w+)`", fields)) for event, fields in found}


def test_the_scan_finds_events():
    assert {"node.drop", "capsule.announced", "capsule.updated", "election.won", "request.parked"} <= set(
        EVENTS
    )


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_every_event_has_its_row_and_fields(event):
    fields = {"member" if field == "node" else field for field in EVENTS[event]}  # see falak/api/notes.py
    assert rows().get(event) == fields


def test_no_event_is_invented():
    assert set(rows()) == set(EVENTS)


# --- settings ----------------------------------------------------------------------------------------------


def test_the_settings_page_is_current():
    script = runpy.run_path(str(ROOT / "scripts" / "settings_reference.py"))
    assert page("settings.md") == script["page"](), "run scripts/settings_reference.py"


def test_every_setting_is_on_it():
    for name in [*settings.Settings.__struct_fields__, *(name for name in vars(settings) if name.isupper())]:
        assert re.search(rf"^## .*`{name}`", page("settings.md"), re.MULTILINE), f"{name} has no docstring"


# --- the manifest ------------------------------------------------------------------------------------------


def manifest_fields(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every field that reading a manifest asks for, dotted."""
    asked: set[str] = set()
    finish = Table.finish

    def spy(table: Table, *elsewhere: object) -> None:
        path = ".".join(str(part) for part in table.at if isinstance(part, str))
        asked.update(f"{path}.{key}".lstrip(".") for key in table.asked)
        finish(table, *elsewhere)  # type: ignore[arg-type]

    monkeypatch.setattr(Table, "finish", spy)
    from_fields({"name": "a", "route": [{"host": "a.example"}]})
    return asked | {"component"}


def test_every_field_of_the_manifest_has_its_place(monkeypatch):
    text = page("capsule-toml.md")
    tables = {"env", "route", "limits", "resources", "gravity", "scale"}
    fields = manifest_fields(monkeypatch)
    assert tables < fields and "limits.wall" in fields
    for field in fields - tables:
        assert re.search(rf"^\| `{re.escape(field)}` \|", text, re.MULTILINE), field
    for table in tables:
        part(text, table)
    written = set(re.findall(r"^\| `([a-z._]+)` \|", text, re.MULTILINE))
    assert written == fields - tables
