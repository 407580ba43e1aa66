"""Where a node's data and its control socket are, for the node and for those who look for it.

Owns the rule and the name. It is small because every command starts with it. It touches no file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SOCKET_NAME: Final = "control.sock"
SYSTEM_DATA: Final = Path("/var/lib/falak")


def data_folder(flag: Path | None, environ: Mapping[str, str]) -> Path:
    """Where a node keeps what it must not forget: ``--data``, ``FALAK_DATA``, else the user's usual place."""
    written = flag or environ.get("FALAK_DATA")
    if written:
        return Path(written).expanduser().absolute()
    return SYSTEM_DATA if os.geteuid() == 0 else Path.home() / ".local/share/falak"
