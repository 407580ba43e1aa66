"""The rules of the house, held by reading the source: sizes, names, imports, the table of nouns, versions.

It runs without the extension and imports nothing of Falak but in subprocesses. Import directions between
rooms are import-linter's (pyproject.toml); here is only what it cannot see.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE_MAX_LINES = 500
FUNCTION_MAX_LINES = 60
EMPTY_NAMES = re.compile(r"(Manager|Helper|Util|Utils|Base|Impl)$")
UNFINISHED = re.compile(r"\b(TOD[O]|FIXM[E]|XX[X])\b")
SEED_NOUNS = (
    "cluster node capsule orbit gravity snapshot momentum heartbeat node.drop at-risk election vote ack "
    "quorum record claim elector keeper ticket announce observe ttl expire tag affinity idle runtime container"
).split()
OTHER_WORDS = {  # noun -> as its file has it, where the noun itself is not the word in code or prose
    "observe": "watch",
    "container": "kind of capsule",  # there is none yet: the protocol that it will be behind
}
DOORS = {  # room -> the only rooms that import it
    "falak._native": {"seam"},
    "falak.seam": {"daemon", "api", "gateway", "mesh", "runtimes", "snapshots"},
    "falak.daemon": {"cli"},
    "falak.sim": {"cli"},
}
HEAVY = {"falak.seam", "falak.daemon"}
LIGHT_ROOMS = {  # room -> what importing it must not load; the command's start-up time depends on the last
    "falak.core": HEAVY | {"asyncio", "falak.config"},
    "falak.sim": HEAVY | {"asyncio"},
    "falak.manifest": HEAVY | {"asyncio"},
    "falak.client": HEAVY,
    "falak.cli.main": HEAVY | {"falak.sim", "falak.demo", "asyncio", "rich.table"},
}
STATEFUL_RANDOM = {"Random"}  # the only name of `random` that the core may use: it is seeded where it is made


def sources(suffix: str) -> list[Path]:
    rooms = [ROOT / room for room in ("falak", "tests", "bench", "examples", "guests", "native")]
    return sorted(path for room in rooms for path in room.rglob(f"*{suffix}") if "target" not in path.parts)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


PYTHON = sources(".py") + sources(".pyi")
RUST = sources(".rs")
RUST_TEXT = re.compile(
    r"""//[^\n]*                             # a comment
      | /\*.*?\*/                             # a comment in brackets
      | r(?P<hashes>\#*)".*?"(?P=hashes)     # a raw string
      | "(?:[^"\\]|\\.)*"                    # a string
      | '(?:[^'\\\n]|\\[^\n]+?)'             # a character; a lifetime has no closing quote""",
    re.VERBOSE | re.DOTALL,
)


def blank(source: str) -> str:
    """Rust source without the text of comments, strings and characters; its lines stay where they are."""

    def lines_only(found: re.Match[str]) -> str:
        return "\n" * found.group().count("\n")

    return RUST_TEXT.sub(lines_only, source)


def rust_functions(source: str) -> Iterator[tuple[str, int, int]]:
    """(name, first line, last line) of every function with a body, nested ones too."""
    code = blank(source)
    for found in re.finditer(r"\bfn\s+(\w+)", code):
        depth = 0
        for at in range(found.end(), len(code)):
            if code[at] == ";" and depth == 0:
                break  # a declaration: no body to measure
            depth += {"{": 1, "(": 1, "[": 1, "}": -1, ")": -1, "]": -1}.get(code[at], 0)
            if code[at] == "}" and depth == 0:
                yield found[1], code.count("\n", 0, found.start()) + 1, code.count("\n", 0, at) + 1
                break


def python_functions(source: str) -> Iterator[tuple[str, int, int]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno, node.end_lineno or node.lineno


def imports(path: Path) -> set[str]:
    """Dotted names that a module imports, absolute, wherever in it the import stands."""
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", PYTHON + RUST, ids=name_of)
def test_files_and_functions_fit_a_reader(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= FILE_MAX_LINES, f"{name_of(path)} is too long: give its rooms files"
    functions = rust_functions if path.suffix == ".rs" else python_functions
    long = [
        f"{name} at line {a}: {b - a + 1} lines"
        for name, a, b in functions(source)
        if b - a >= FUNCTION_MAX_LINES
    ]
    assert not long, f"{name_of(path)}: functions above {FUNCTION_MAX_LINES} lines: {long}"


@pytest.mark.parametrize("path", PYTHON + RUST, ids=name_of)
def test_names_say_something_and_nothing_is_left_open(path: Path) -> None:
    source = path.read_text()
    kinds = r"\b(?:struct|enum|trait|type)\s+(\w+)" if path.suffix == ".rs" else r"^\s*class\s+(\w+)"
    names = [*re.findall(kinds, source, re.MULTILINE), path.stem.title().replace("_", "")]
    assert not [name for name in names if EMPTY_NAMES.search(name)], f"{name_of(path)}: say what it is"
    assert not UNFINISHED.search(source), f"{name_of(path)}: finish it, or open an issue"


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_modules_say_what_they_own(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{name_of(path)} does not say what it owns"


@pytest.mark.parametrize("path", RUST, ids=name_of)
def test_crates_say_what_they_own(path: Path) -> None:
    assert path.read_text().startswith("//!"), f"{name_of(path)} does not say what it owns"


@pytest.mark.parametrize("room", DOORS)
def test_rooms_are_entered_by_their_doors(room: str) -> None:
    importers = {
        path.relative_to(ROOT / "falak").with_suffix("").parts[0]
        for path in sources(".py")
        if path.is_relative_to(ROOT / "falak") and room in imports(path)
    }
    assert importers <= DOORS[room] | {room.removeprefix("falak.")}


@pytest.mark.parametrize("path", [p for p in PYTHON if "core" in p.relative_to(ROOT).parts], ids=name_of)
def test_the_core_has_no_randomness_of_its_own(path: Path) -> None:
    tree = ast.parse(path.read_text())
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random"
    }
    used |= {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "random"
        for alias in node.names
    }
    assert used <= STATEFUL_RANDOM, f"{name_of(path)}: take the node's own Random"


@pytest.mark.parametrize("room", LIGHT_ROOMS)
def test_rooms_load_without_the_extension(room: str) -> None:
    code = f"import sys; sys.modules['falak._native'] = None; import {room}; print(*sys.modules, sep='\\n')"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert run.returncode == 0, run.stderr
    assert not LIGHT_ROOMS[room] & set(run.stdout.split())


def nouns() -> dict[str, list[str]]:
    """ARCHITECTURE.md's table: noun -> files."""
    rows = re.findall(r"^\| (\*.+?\*) \| (.+?) \|", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    return {
        noun: re.findall(r"`([^`]+/[^`]*)`", files)
        for names, files in rows
        for noun in re.findall(r"\*([^*]+)\*", names)
    }


@pytest.mark.parametrize("noun", SEED_NOUNS)
def test_every_noun_has_its_file(noun: str) -> None:
    files = nouns().get(noun, [])
    assert files, f"ARCHITECTURE.md has no row for {noun}"
    assert not [file for file in files if not (ROOT / file).exists()], f"{noun}: files that do not exist"
    word = OTHER_WORDS.get(noun, noun)
    assert any(word in text_of(ROOT / file).lower() for file in files), f"{noun} is no word of {files}"


def text_of(place: Path) -> str:
    """A file's text, or that of all files in a folder."""
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    return "\n".join(file.read_text() for file in files)


def test_every_path_in_the_architecture_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    paths = set(re.findall(r"`((?:falak|native|tests|docs|examples|bench)/[\w./-]*)`", text))
    assert paths
    assert not [path for path in sorted(paths) if not (ROOT / path).exists()]


def test_one_version_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    workspace = tomllib.loads((ROOT / "native/Cargo.toml").read_text())["workspace"]["package"]["version"]
    package = re.search(r'^__version__ = "(.+)"', (ROOT / "falak/__init__.py").read_text(), re.MULTILINE)
    assert package and project == workspace == package[1]


def test_the_rust_scan_sees_what_it_should() -> None:
    source = """
fn declared(a: [u8; 4]);
/// fn commented() {
fn outer<'a>(text: &'a str) -> char {
    let open = '{'; let quote = '\\''; let s = "}\\"{"; let raw = r#"}"{"#; let any = "*/*{";
    fn inner() { /* } */ }
    open // }
}
"""
    assert list(rust_functions(source)) == [("outer", 4, 8), ("inner", 6, 6)]
