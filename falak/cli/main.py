"""``falak``: the table of verbs, and what becomes of errors. Owns exit codes and how an error is shown.

Exit codes: 0 done, 1 failed, 2 used wrongly, 3 no node reachable, 4 done but not serving, 130 interrupted, 141
nobody reads our output any more. Messages go to stderr, results to stdout.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from falak import __version__
from falak.cli.parser import HELP, Parser, did_you_mean, listed, paragraphs
from falak.errors import FAILED, USAGE, OperatorError

INTERRUPTED: Final = 130
NOBODY_READS: Final = 141
WHAT: Final = "An orchestration-less mesh: capsules orbit, nodes elect the one that runs them."

VERBS: Final = {
    "up": ("falak.cli.up:up", "Start a node here, alone or joined to a mesh."),
    "ticket": ("falak.cli.up:ticket", "Print what lets another node join this one's mesh."),
    "drain": ("falak.cli.leave:drain", "Have a node run nothing, and wait until its copies are gone."),
    "leave": ("falak.cli.leave:leave", "Have this node drain, say goodbye and end."),
    "launch": (
        "falak.cli.launch:launch",
        "Publish a capsule: from a folder with capsule.toml, or a .wasm file.",
    ),
    "withdraw": ("falak.cli.launch:withdraw", "Take a capsule out of its orbit for good."),
    "call": ("falak.cli.launch:call", "Send a capsule an HTTP request through this node."),
    "ps": ("falak.cli.show:ps", "List running copies in the whole mesh."),
    "nodes": ("falak.cli.show:nodes", "List the nodes of the mesh, as this one sees them."),
    "orbits": ("falak.cli.show:orbits", "List orbits, who watches them, and what is in them."),
    "capsules": ("falak.cli.show:capsules", "List capsules that orbit, running or not."),
    "events": ("falak.cli.watch:events", "Show what happened in the mesh."),
    "logs": ("falak.cli.watch:logs", "Show what a capsule's copies wrote, on all nodes."),
    "why": ("falak.cli.why:why", "Tell a capsule's newest election: who was called, who won, and why."),
    "demo": ("falak.cli.demo:demo", "Five nodes on this machine: publish, request, election, answer."),
    "version": (
        "falak.cli.version:version",
        "Print the versions of this command and of the node it speaks with.",
    ),
}
"""Every verb, in the order of help: where its function is, and its docstring's first line, which the list of
verbs shows without loading it."""


GROUPS: Final = {
    "A node": ("up", "ticket", "drain", "leave"),
    "Capsules": ("launch", "withdraw", "call"),
    "What there is, and what happened": (
        "ps",
        "nodes",
        "orbits",
        "capsules",
        "events",
        "logs",
        "why",
    ),
    "This program": ("demo", "version"),
}
"""The verbs under the headings of the list."""


ELSEWHERE: Final = {
    "stop": "a node ends by Ctrl-C, SIGTERM or: falak leave",
    "status": "see: falak nodes; falak ps",
}
"""Verbs that people try, and what they are after."""


def parser_of(verb: str) -> Parser:
    """The parser of one verb: its module is imported, and no other's."""
    where, what = VERBS[verb]
    module, _, function = where.partition(":")
    room = import_module(module)
    parser = Parser(verb, getattr(room, function).__doc__ or what)
    getattr(room, f"{function}_arguments")(parser)
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Run one command (of ``sys.argv`` unless words are given). Returns its exit code."""
    try:
        code = _run(sys.argv[1:] if words is None else list(words))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more to say at exit
        return NOBODY_READS
    return code


def _run(words: list[str]) -> int:
    try:
        return _called(words)
    except OperatorError as error:
        return _complain(error)


def _called(words: list[str]) -> int:
    if words[:1] == ["help"]:
        words = [*words[1:2], HELP[0]]
    if not words or words[0] in HELP:
        print(_overview())
        return 0
    if words[0] == "--version":
        print(__version__)
        return 0
    verb = words[0]
    if verb not in VERBS:
        kind = "option" if verb.startswith("-") else "command"
        near = "" if verb in ELSEWHERE else did_you_mean(verb, (*VERBS, "--version", "--help"))
        raise OperatorError(f'Unknown {kind} "{verb}".{near}', ELSEWHERE.get(verb, "see: falak --help"), USAGE)
    parser = parser_of(verb)
    values = parser.read(words[1:])
    if values is None:
        print(parser.format_help())
        return 0
    module, _, function = VERBS[verb][0].partition(":")
    code = getattr(import_module(module), function)(**values)
    return code if isinstance(code, int) else 0


def _overview() -> str:
    """Every verb, for who knows none."""
    parts = ["Usage: falak VERB [FLAGS]", *paragraphs(WHAT)]
    left = max(map(len, VERBS))
    parts += [
        listed(heading, [(f"{verb:<{left}}", VERBS[verb][1]) for verb in verbs])
        for heading, verbs in GROUPS.items()
    ]
    parts += paragraphs("falak VERB --help tells a verb's flags; falak --version prints the version.")
    return "\n\n".join(parts)


def _complain(error: OperatorError) -> int:
    sys.stdout.flush()
    print(f"falak: {error.what}", file=sys.stderr)
    for line in error.hint.splitlines():
        print(f"  {line}", file=sys.stderr)
    return error.exit or FAILED
