"""etwcap: network capture for Microsoft Windows, readable on any OS."""

from etwcap._version import __version__

__all__ = ["__version__"]
