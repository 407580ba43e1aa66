"""``python -m falak`` is the command ``falak``."""

import sys

from falak.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
