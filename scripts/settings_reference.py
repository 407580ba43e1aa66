#!/usr/bin/env python3
"""Write docs/reference/settings.md from the docstrings of falak/core/settings.py.

Owns the page's form; every word in it about a setting stands beside the setting. A test holds the page current.
"""

from __future__ import annotations

import ast
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "falak" / "core" / "settings.py"
PAGE = ROOT / "docs" / "reference" / "settings.md"
HEAD = """# Settings

<!-- made by scripts/settings_reference.py from falak/core/settings.py: change it there, then run the script -->

What an operator may change, in a table `[settings]` of `falak.toml` (in the data folder, or `/etc/falak/`):

    [settings]
    heartbeat_s = 1.0

Names end in their unit. A node that has other settings than its peers works with them; the protocol's constants
at the end of this page are the same everywhere and cannot be changed.
"""
CONSTANTS = """
# Constants of the protocol

"""

Entry = tuple[list[str], str]
"""Names with one docstring between them."""


def entries(body: list[ast.stmt]) -> Iterator[Entry]:
    """Groups of annotated names, each with the docstring that follows them."""
    names: list[str] = []
    for statement in body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            names.append(statement.target.id)
        elif names and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            yield names, " ".join(str(statement.value.value).split())
            names = []


def values(body: list[ast.stmt]) -> dict[str, str]:
    """Each annotated name's value as it is written."""
    return {
        statement.target.id: ast.unparse(statement.value)
        for statement in body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value
    }


def section(body: list[ast.stmt]) -> Iterator[str]:
    """One paragraph an entry: its names and usual values, then its words."""
    usual = values(body)
    for names, words in entries(body):
        heading = ", ".join(f"`{name}`" for name in names)
        yield f"## {heading}\n"
        yield "Usual: " + ", ".join(f"`{usual[name]}`" for name in names) + "\n"
        yield (
            textwrap.fill(words.replace("``", "`"), 110, break_long_words=False, break_on_hyphens=False) + "\n"
        )


def page() -> str:
    """The whole page."""
    module = ast.parse(SOURCE.read_text())
    settings = next(node for node in module.body if isinstance(node, ast.ClassDef) and node.name == "Settings")
    constants = "\n".join(section(module.body)).replace("\nUsual: ", "\nValue: ")
    return HEAD + "\n" + "\n".join(section(settings.body)) + CONSTANTS + constants


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE.relative_to(ROOT)}", file=sys.stderr)
