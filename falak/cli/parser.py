"""The words after a verb: flags by argparse, arguments by place, help in our looks, and errors with a way on.

It owns how words are taken apart and how help is set, and no verb. Flags and arguments stand in any order;
what follows ``--`` is an argument, whatever it begins with. Flags are never abbreviated. Whatever is wrong is an
``OperatorError`` with exit code 2. Nothing here prints or ends the process.
"""

from __future__ import annotations

import os
from argparse import ArgumentError, ArgumentParser
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from falak.errors import USAGE, OperatorError

HELP: Final = ("--help", "-h")
WIDTH_MAX: Final = 100
WIDTH_MIN: Final = 40
"""Columns of help; a terminal's own width lies between them."""
TERM_MAX: Final = 26
"""Columns of a name in a list: what is longer has its explanation on the next line."""
_SAID: Final = {"expected": "requires an argument", "ignored explicit": "takes no value"}
"""How argparse begins a complaint about a flag, and ours."""


class Place(NamedTuple):
    """An argument that is known by its place. ``usual`` is its value where it is not given; None: it must be."""

    name: str
    help: str
    usual: str | None


class Parser(ArgumentParser):
    """The flags and arguments of one verb. Flags are added by ``add_argument``, arguments by ``add_place``."""

    def __init__(self, verb: str, text: str) -> None:
        super().__init__(f"falak {verb}", add_help=False, allow_abbrev=False, exit_on_error=False)
        self._verb, self._text = verb, text
        self._places: list[Place] = []

    def add_place(self, name: str, help: str, usual: str | None = None) -> None:
        """The next argument. After one with a usual value there is none that must be given."""
        self._places.append(Place(name, help, usual))

    def flags(self) -> list[str]:
        """Every spelling of every flag."""
        return list(self._option_string_actions)

    def read(self, words: Sequence[str]) -> dict[str, Any] | None:
        """Values by name; None where help is asked for. Raises ``OperatorError``."""
        end = words.index("--") if "--" in words else len(words)
        flags, placed = words[:end], list(words[end + 1 :])
        if any(word in HELP for word in flags):
            return None
        try:
            found, others = self.parse_known_args(flags)
        except ArgumentError as error:
            self.error(_complaint(error))
        for word in others:
            if len(word) > 1 and word.startswith("-"):
                name = word.partition("=")[0]
                self.error(f"Unknown option: {name}.{did_you_mean(name, self.flags())}")
        return vars(found) | self._placed(others + placed)

    def _placed(self, words: list[str]) -> dict[str, str]:
        if len(words) > len(self._places):
            self.error(f"Unused words: {' '.join(map(repr, words[len(self._places) :]))}.")
        values = {}
        for at, place in enumerate(self._places):
            value = words[at] if at < len(words) else place.usual or ""
            if not value and place.usual is None:
                self.error(f"{place.name.upper()} is missing: {self._usage()}")
            values[place.name] = value
        return values

    def error(self, message: str) -> NoReturn:
        """Raise it, with where to look."""
        raise OperatorError(message, f"see: {self.prog} --help", USAGE)

    def _usage(self) -> str:
        names = (name.upper() if usual is None else f"[{name.upper()}]" for name, _, usual in self._places)
        return " ".join([self.prog, *names])

    # --- help --------------------------------------------------------------------------------------------

    def format_help(self) -> str:
        """The whole help of the verb, as wide as the terminal."""
        parts = [f"Usage: {self._usage()} [FLAGS]", *paragraphs(self._text)]
        if self._places:
            parts.append(listed("Arguments", [(place.name.upper(), place.help) for place in self._places]))
        rows = []
        for action in self._actions:
            shorts = [name for name in action.option_strings if not name.startswith("--")]
            longs = [name for name in action.option_strings if name.startswith("--")]
            names = ", ".join(shorts + longs)
            if action.nargs is None:
                names += f" {action.metavar or action.dest.upper()}"
            rows.append((names, action.help or ""))
        parts.append(listed("Flags", [*rows, ("-h, --help", "Print this.")]))
        return "\n\n".join(parts)


def _complaint(error: ArgumentError) -> str:
    name = (error.argument_name or "").partition("/")[0]
    for beginning, said in _SAID.items():
        if error.message.startswith(beginning):
            return f"{name} {said}."
    return f"Invalid value for {name}: {error.message}."


def did_you_mean(written: str, known: Iterable[str]) -> str:
    """`` Did you mean "…"?`` where something known is close to what was written; else nothing."""
    from difflib import get_close_matches  # noqa: PLC0415  only for an error

    names = {name.lstrip("-"): name for name in known}  # else the dashes make all flags alike
    close = get_close_matches(written.lstrip("-"), names, 1)
    return f' Did you mean "{names[close[0]]}"?' if close else ""


def columns() -> int:
    """How wide help is here."""
    written = os.environ.get("COLUMNS", "")
    try:
        width = int(written) if written.isdecimal() else os.get_terminal_size(1).columns
    except OSError:
        width = 80
    return max(WIDTH_MIN, min(WIDTH_MAX, width))


def paragraphs(text: str) -> list[str]:
    """A docstring's paragraphs, each set anew."""
    from textwrap import fill  # noqa: PLC0415  only for help

    return [fill(" ".join(part.split()), columns()) for part in text.split("\n\n")]


def listed(heading: str, rows: Sequence[tuple[str, str]]) -> str:
    """Names and what they are, side by side, under a heading."""
    from textwrap import wrap  # noqa: PLC0415  only for help

    left = min(TERM_MAX, max(len(name) for name, _ in rows))
    lines = [f"{heading}:"]
    for name, what in rows:
        first, *others = wrap(what, columns() - left - 4) or [""]
        if len(name) <= left:
            lines.append(f"  {name:<{left}}  {first}".rstrip())
        else:
            lines += [f"  {name}", f"{'':{left + 4}}{first}"]
        lines += [f"{'':{left + 4}}{line}" for line in others]
    return "\n".join(lines)
