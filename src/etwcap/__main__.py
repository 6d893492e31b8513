"""``python -m etwcap``: the command line."""

import sys

from etwcap.cli import main

if __name__ == "__main__":
    sys.exit(main())
