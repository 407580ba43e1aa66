"""``falak``: the table of verbs, and what becomes of errors. Owns exit codes and how an error is shown.

Exit codes: 0 done, 1 failed, 2 used wrongly, 3 no node reachable, 4 done but not serving, 130 interrupted, 141
nobody reads our output any more. Messages go to stderr, results to stdout.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from cyclopts import App, CycloptsError, Parameter

from falak import __version__
from falak.errors import FAILED, USAGE, OperatorError

INTERRUPTED: Final = 130
NOBODY_READS: Final = 141

VERBS: Final = {
    "up": ("falak.cli.up:up", "Start a node here, alone or joined to a mesh."),
    "ticket": ("falak.cli.up:ticket", "Print what lets another node join this one's mesh."),
    "launch": (
        "falak.cli.launch:launch",
        "Publish a capsule: from a folder with capsule.toml, or a .wasm file.",
    ),
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


def program(wanted: str = "") -> App:
    """The parser of all verbs. Only the module of the ``wanted`` one is imported, when it is called."""
    app = App(
        name="falak",
        help="An orchestration-less mesh: capsules orbit, nodes elect the one that runs them.",
        version=__version__,
        default_parameter=Parameter(negative="", show_default=False),
        print_error=False,
        exit_on_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    for at, (verb, (where, what)) in enumerate(VERBS.items()):
        app.command(where, name=verb, sort_key=at, help=None if verb == wanted else what)
    return app


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
    verb = words[0] if words and words[0] in VERBS else ""
    try:
        code = program(verb)(words)
    except CycloptsError as error:
        hint = f"see: falak {verb} --help" if verb else "see: falak --help"
        return _complain(OperatorError(str(error).strip(), hint, USAGE))
    except OperatorError as error:
        return _complain(error)
    return code if isinstance(code, int) else 0


def _complain(error: OperatorError) -> int:
    sys.stdout.flush()
    print(f"falak: {error.what}", file=sys.stderr)
    for line in error.hint.splitlines():
        print(f"  {line}", file=sys.stderr)
    return error.exit or FAILED
