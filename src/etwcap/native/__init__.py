"""The native core, its twins and the loader.

Each kernel group is one module here (``rows``, ``xpress`` ...): a thin ctypes call where the library is loaded, the
twin of the same name in ``twin_<group>`` where it is not. Both give identical bytes; tests hold them to it.
"""

from etwcap.native.loader import backend, library, use_backend

__all__ = ["backend", "library", "use_backend"]
