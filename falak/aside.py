"""Work done aside: a module run as a process of its own, at low priority. Owns that process only.

For what takes CPU or blocks (compiling, hashing, copying): a node's own process decides elections in
milliseconds and must not be held up. The process is awaited by its end, not polled, and ended at its deadline;
should this one be killed, it ends, too (``falak.errand`` sees to that, and to its priority).
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

OUTPUT_MAX_BYTES: Final = 256 * 1024
"""Of what the process printed; its last bytes are kept."""
_HOME: Final = Path(__file__).resolve().parents[1]


class Overdue(Exception):
    """The process was ended at its deadline."""


async def run_aside(module: str, *arguments: str, deadline_s: float) -> tuple[int, bytes]:
    """Run ``python -m module arguments...``: its exit code and what it printed. Paths must be absolute. Raises
    ``OSError`` where no process can be had, ``Overdue`` at the deadline; cancelling ends the process too."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "falak.errand",
        module,
        *arguments,
        cwd=_HOME,  # so that the child finds the same Falak, wherever the parent was started
        stdin=asyncio.subprocess.PIPE,  # never written to: it closes when this process is gone
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(deadline_s):
            output = await _last_bytes(process.stdout)
            code = await process.wait()
    except TimeoutError:
        raise Overdue(f"it took longer than {deadline_s:g} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return code, output


def last_words(output: bytes) -> str:
    """What a process said last, as one line: of a trace that is the error itself. Empty if it said nothing."""
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""


async def _last_bytes(reader: asyncio.StreamReader | None) -> bytes:
    kept = b""
    while reader is not None and (chunk := await reader.read(65536)):
        kept = (kept + chunk)[-OUTPUT_MAX_BYTES:]
    return kept
