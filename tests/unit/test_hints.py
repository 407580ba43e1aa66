"""Every command that a hint, a page or the README names is one that exists: what people are told to type works."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from falak.cli.main import VERBS

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"(?<![\w./-])falak ([a-z][a-z-]*)")
PROSE = {"command", "does"}
"""Words behind the program's name that are no verb and meant to be none."""
PAGES = ("*.md", "docs/**/*.md", "examples/**/*.md", "tests/**/*.md", "bench/**/*.md")


def texts() -> Iterator[tuple[str, str]]:
    """``(where, text)`` of every text of the code and of every page."""
    for path in (ROOT / "falak").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value
    for path in (ROOT / "native").glob("*/src/**/*.rs"):
        yield str(path.relative_to(ROOT)), path.read_text()
    for pattern in PAGES:
        for path in ROOT.glob(pattern):
            yield str(path.relative_to(ROOT)), path.read_text()


def test_every_verb_that_is_named_exists() -> None:
    named = [(verb, where) for where, text in texts() for verb in NAMED.findall(text)]
    assert {verb for verb, _ in named} >= {"up", "launch", "ticket", "why", "logs", "ps"}, (
        "they were looked for"
    )
    assert {where.split("/")[0] for _, where in named} >= {"falak", "native", "docs", "README.md", "examples"}
    wrong = [f"{where}: falak {verb}" for verb, where in named if verb not in {*VERBS, *PROSE}]
    assert not wrong, wrong
