"""TOML that people write: tables read with the line of every key, and everything wrong with them told at once.

Owns the reading of one file into values and problems. It knows no field of any file: ``falak.manifest`` and
``falak.config`` do. ``tomllib`` gives no positions, so ``lines_of`` finds them in the text: tables, arrays of
tables, dotted and quoted keys. What stands inside an inline table or an array has the line of its key.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from falak.core.settings import NAME_MAX_CHARS
from falak.errors import USAGE, OperatorError

FILE_MAX_BYTES: Final = 256 * 1024
"""A file larger than this is not read: it is not what it claims to be."""

KeyPath = tuple[str | int, ...]
T = TypeVar("T")

_LABEL = re.compile(rf"[a-z0-9](?:[a-z0-9-]{{0,{NAME_MAX_CHARS - 2}}}[a-z0-9])?")
_TOKEN = (  # compiled where a file is read: most starts read none
    r'''"""(?:\\.|[^\\])*?"{3,5} | \'\'\'.*?\'{3,5} | "(?:\\.|[^"\\\n])*" | '[^'\n]*'
      | \#[^\n]* | [\[\]{}=.,\n] | [^\s\[\]{}=.,"'\#]+'''
)


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong: at a line (0: in no file), what, and what to do (may be empty)."""

    line: int
    what: str
    hint: str = ""


class Table(msgspec.Struct):
    """One table being read: what was asked of it by name, what is wrong with it, and what nobody asked for.

    ``at`` is where the table stands in its file; ``problems`` and ``lines`` are shared by all tables of it.
    A value of the wrong type or out of its range is a problem and reads as the default, so reading goes on.
    """

    values: Mapping[str, Any]
    lines: Mapping[KeyPath, int]
    problems: list[Problem]
    at: KeyPath = ()
    asked: list[str] = []

    def line(self, *keys: str | int) -> int:
        """The line of a key of this table, else of the nearest table around it that has one, else 0."""
        path: KeyPath = (*self.at, *keys)
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)

    def wrong(self, key: str, what: str, hint: str = "") -> None:
        """Note a problem with the key's value."""
        self.problems.append(Problem(self.line(key), f"{self.name(key)} {what}", hint))

    def name(self, key: str) -> str:
        """The key as people write it: ``limits.memory``, ``route[2].host``."""
        return path_text((*self.at, key))

    def has(self, key: str) -> bool:
        """Whether the key is written."""
        return key in self.values

    def get(self, key: str, default: T, read: Callable[[Any], T]) -> T:
        """The key's value through ``read``, which raises ``ValueError(what)`` or ``ValueError(what, hint)``
        for a value that cannot be."""
        self.asked.append(key)
        if key not in self.values:
            return default
        try:
            return read(self.values[key])
        except ValueError as error:
            self.wrong(key, *(str(arg) for arg in error.args[:2]))
            return default

    def each(self, key: str, read: Callable[[Any], T]) -> tuple[T, ...]:
        """A list's items, each through ``read``; every bad item is a problem of its own."""
        found, nothing = list[T](), list[Any]()
        for item in self.get(key, nothing, a_list):
            try:
                found.append(read(item))
            except ValueError as error:
                self.wrong(key, *(str(arg) for arg in error.args[:2]))
        return tuple(found)

    def table(self, key: str) -> Table:
        """The table under the key, empty if there is none."""
        return Table(self.get(key, {}, a_table), self.lines, self.problems, (*self.at, key))

    def tables(self, key: str, count_max: int) -> list[Table]:
        """The array of tables under the key: at most ``count_max``."""
        nothing = list[Mapping[str, Any]]()
        items = self.get(key, nothing, lambda value: an_array_of_tables(value, key, count_max))
        return [Table(item, self.lines, self.problems, (*self.at, key, at)) for at, item in enumerate(items)]

    def finish(self, elsewhere: Mapping[str, str] | None = None) -> None:
        """Note every key that nobody asked for, with the likeliest one that exists. ``elsewhere`` has hints
        for keys that people are likely to write."""
        for key in self.values:
            if key not in self.asked:
                hint = (elsewhere or {}).get(key) or likely(key, self.asked)
                where = f" in {path_text(self.at)}" if self.at else ""
                self.problems.append(Problem(self.line(key), f"unknown key {key!r}{where}", hint))


class WrittenWrong(OperatorError):
    """A file or a set of values with problems: all of them, in the order of their lines."""

    def __init__(self, where: str, problems: Iterable[Problem]) -> None:
        self.where = where
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        count = f"{len(self.problems)} problems" if len(self.problems) != 1 else "1 problem"
        told = [f"{where}: {count}", *(self._tell(problem) for problem in self.problems)]
        super().__init__("\n".join(told), exit=USAGE)

    def _tell(self, problem: Problem) -> str:
        place = f"{self.where}:{problem.line}: " if problem.line else ""
        return f"  {place}{problem.what}" + (f" ({problem.hint})" if problem.hint else "")


def read_table(path: Path) -> Table:
    """A file's outermost table, its problems still to be found. Raises ``OperatorError`` when it cannot be
    read, ``WrittenWrong`` when it is not TOML."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise OperatorError(
            f"{path} cannot be read: {error.strerror}", "check that it exists", USAGE
        ) from error
    if len(data) > FILE_MAX_BYTES:
        raise OperatorError(
            f"{path} is larger than {FILE_MAX_BYTES // 1024} KiB", "is it the right file?", USAGE
        )
    return parse_table(data, str(path))


def parse_table(data: bytes, where: str) -> Table:
    """The same from bytes."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise WrittenWrong(where, [Problem(line, "is not UTF-8 text")]) from error
    import tomllib  # noqa: PLC0415  5 ms: most starts read no file

    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, brackets in brackets
        raise WrittenWrong(where, [_not_toml(str(error), text)]) from error
    return Table(values, lines_of(text), [])


def _not_toml(why: str, text: str) -> Problem:
    found = re.search(r"\(at line (\d+), column (\d+)\)", why)
    line = int(found[1]) if found else text.count("\n") + 1
    column = f" at column {found[2]}" if found else ""
    what = re.sub(r"\s*\(at [^)]*\)$", "", why)
    return Problem(line, f"is not TOML{column}: {what}", "text needs quotes, lists need [ ]")


def lines_of(text: str) -> dict[KeyPath, int]:
    """The line (from 1) of every table and key in TOML that is known to be valid.

    Arrays of tables have their index in the path: ``("route", 0, "host")``.
    """
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for statement, line in _statements(text):
        if statement[0] == "[":
            of_tables = statement[1] == "["
            table = _resolve(_keys(statement), counts, of_tables)
            if of_tables:
                lines.setdefault(table[:-1], line)
            lines[table] = line
        else:
            path = (*table, *_keys(statement[: statement.index("=")]))
            for end in range(len(table) + 1, len(path) + 1):
                lines.setdefault(path[:end], line)
    return lines


def _statements(text: str) -> Iterable[tuple[list[str], int]]:
    """Each ``[header]`` or ``key = value`` as its tokens, with the line it begins on."""
    statement: list[str] = []
    begins_at = depth = 0
    line, seen = 1, 0
    for found in re.finditer(_TOKEN, text, re.VERBOSE | re.DOTALL):
        token = found.group()
        line += text.count("\n", seen, found.start())
        seen = found.start()
        if token == "\n" and depth == 0:
            if statement:
                yield statement, begins_at
            statement = []
        elif token != "\n" and not token.startswith("#"):
            begins_at = begins_at if statement else line
            depth += (token in ("[", "{")) - (token in ("]", "}"))
            statement.append(token)
    if statement:
        yield statement, begins_at


def _keys(tokens: list[str]) -> list[str]:
    words = [token for token in tokens if token not in ("[", "]", ".")]
    return [_unquoted(word) for word in words]


def _unquoted(word: str) -> str:
    if word[0] not in "\"'":
        return word
    import tomllib  # noqa: PLC0415  as above

    return str(tomllib.loads(f"key = {word}")["key"])


def _resolve(keys: list[str], counts: dict[KeyPath, int], of_tables: bool) -> KeyPath:
    """A header's keys with the indices of the arrays of tables they pass through."""
    path: KeyPath = ()
    for at, key in enumerate(keys):
        path = (*path, key)
        if of_tables and at == len(keys) - 1:
            counts[path] = counts.get(path, 0) + 1
        if path in counts:
            path = (*path, counts[path] - 1)
    return path


def path_text(path: KeyPath) -> str:
    """``("route", 1, "host")`` as ``route[2].host``: people count from one."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def likely(word: str, known: Collection[str]) -> str:
    """The hint for a word that is none of the known ones ("" where none are)."""
    from difflib import get_close_matches  # noqa: PLC0415  only for an error

    near = get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return "known: " + ", ".join(sorted(known)) if known else ""


# --- reading one value: each takes what TOML gave and raises ValueError(what[, hint]) ----------------------


def kind_of(value: object) -> str:
    """What a TOML value is, in its own words."""
    kinds = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "a table",
    }
    return kinds.get(type(value), "a date or time")


def a_text(value: Any) -> str:
    """Text without control characters."""
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {kind_of(value)}", "write it in quotes")
    if any(ord(char) < 32 or ord(char) == 127 for char in value):
        raise ValueError("has a control character in it")
    return value


def a_label(value: Any) -> str:
    """A name of Falak's: one DNS label of small letters, digits and inner hyphens."""
    text = a_text(value)
    if not _LABEL.fullmatch(text):
        better = re.sub(r"[^a-z0-9]+", "-", text.lower())[:NAME_MAX_CHARS].strip("-")
        rule = f"small letters, digits and hyphens between them, at most {NAME_MAX_CHARS}"
        raise ValueError(f"cannot be {text!r}: {rule}", f"write {better!r}" if better else "")
    return text


def a_number(value: Any) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number, not {kind_of(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def a_boolean(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {kind_of(value)}")
    return value


def a_list(value: Any) -> list[Any]:
    """A list of anything."""
    if not isinstance(value, list):
        raise ValueError(f"must be a list, not {kind_of(value)}", "write [ ] around it")
    return value


def a_table(value: Any) -> Mapping[str, Any]:
    """A table."""
    if not isinstance(value, dict):
        raise ValueError(f"must be a table, not {kind_of(value)}")
    return value


def an_array_of_tables(value: Any, key: str, count_max: int) -> list[Mapping[str, Any]]:
    """Tables in ``[[ ]]``."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError(f"must be an array of tables, not {kind_of(value)}", f"write [[{key}]]")
    if len(value) > count_max:
        raise ValueError(f"has {len(value)} entries, {count_max} are the most")
    return value
