"""The command line: one module per command, imported only when that command runs.

Nothing here imports NumPy, or anything else that is slow, before a command needs it.
"""

from etwcap.cli.app import main

__all__ = ["main"]
