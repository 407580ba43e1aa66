"""Work done aside: a module of Falak run as a process of its own, at low priority. Owns that process only.

For what takes CPU or blocks (compiling, hashing, copying): a node's own process decides elections in
milliseconds and must not be held up. The process is awaited by its end, not polled, and ended at its deadline.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

NICE: Final = "10"
OUTPUT_MAX_BYTES: Final = 256 * 1024
"""Of what the process printed; its last bytes are kept."""
_HOME: Final = Path(__file__).resolve().parents[1]


class Overdue(Exception):
    """The process was ended at its deadline."""


async def run_aside(module: str, *arguments: str, deadline_s: float) -> tuple[int, bytes]:
    """Run ``python -m module arguments...``: its exit code and what it printed. Paths must be absolute. Raises
    ``OSError`` where no process can be had, ``Overdue`` at the deadline; cancelling ends the process too."""
    process = await asyncio.create_subprocess_exec(
        "nice",
        "-n",
        NICE,
        sys.executable,
        "-m",
        module,
        *arguments,
        cwd=_HOME,  # so that the child finds the same Falak, wherever the parent was started
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(deadline_s):
            output, _ = await process.communicate()
    except TimeoutError:
        raise Overdue(f"it took longer than {deadline_s:g} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output[-OUTPUT_MAX_BYTES:]
