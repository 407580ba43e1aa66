"""`python -m bench [CLAIM ...]`: measure claims, print the table, keep what was found.

Owns the command line. It refuses to write figures down that came from too few rounds, or from some claims only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench import report
from bench.causes import CAUSES
from bench.claims import CLAIMS
from bench.figures import ROUNDS_MIN, Row
from bench.machine import ROOT, here
from bench.run import Run
from falak.errors import OperatorError

DOCUMENT = ROOT / "docs" / "performance.md"
QUICK_ROUNDS = 2


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 0: measured, whatever came out; 1: a measurement failed; 2: usage."""
    parser = arguments()
    options = parser.parse_args(words)
    if unknown := [name for name in options.claims if name not in CLAIMS]:
        parser.error(f"no claim is called {', '.join(unknown)}; there are {', '.join(CLAIMS)}")
    if options.write and options.quick:
        parser.error("--quick measures too little to be written down")
    if options.rounds < ROUNDS_MIN and not options.quick:
        parser.error(f"--rounds: at least {ROUNDS_MIN}, or --quick")
    results, failed = earlier(options.earlier), list[str]()
    if results is None:
        rows, failed = measured(options.claims or list(CLAIMS), options)
        results = report.Results(machine=here(), rows=rows)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    print(report.terminal(results.rows, CAUSES, failed), end="")
    if options.write:
        if {row.target.key for row in results.rows} != {
            target.key for claim in CLAIMS.values() for target in claim.targets
        }:
            print(f"{DOCUMENT.relative_to(ROOT)} is left as it is: it tells of every claim", file=sys.stderr)
            return 1
        before = DOCUMENT.read_text() if DOCUMENT.exists() else ""
        DOCUMENT.write_text(report.rewritten(before, report.markdown(results, CAUSES)))
    return int(bool(failed))


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench", description="Measure each claim against its peer.")
    parser.add_argument("claims", nargs="*", metavar="CLAIM", help=f"{', '.join(CLAIMS)} (all of them)")
    parser.add_argument("--rounds", type=int, default=ROUNDS_MIN, help="rounds of every claim (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="few rounds, short: is it in working order?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument(
        "--from", type=Path, metavar="FILE", dest="earlier", help="take them from there instead"
    )
    parser.add_argument("--write", action="store_true", help="make docs/performance.md anew")
    return parser


def earlier(path: Path | None) -> report.Results | None:
    return msgspec.json.decode(path.read_bytes(), type=report.Results) if path else None


def measured(names: Sequence[str], options: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Rows of the claims, and the names of those that could not be measured (the others go on)."""
    rows: list[Row] = []
    failed: list[str] = []
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            with Run(rounds=QUICK_ROUNDS if options.quick else options.rounds, quick=options.quick) as run:
                found = CLAIMS[name].measure(run)
            rows += [msgspec.structs.replace(row, others=run.others) for row in found]
        except (OSError, RuntimeError, AssertionError, OperatorError) as error:
            print(f"{name} could not be measured: {error}", file=sys.stderr, flush=True)
            failed.append(name)
    return rows, failed


if __name__ == "__main__":
    sys.exit(main())
