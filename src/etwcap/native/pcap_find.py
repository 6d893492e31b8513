"""Where the records of a damaged pcap file go on."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from etwcap.native import twin_pcap_find
from etwcap.native.loader import function, library, pointer
from etwcap.native.twin_pcap_find import CERTAIN, LEAST, STEP, Form

__all__ = ["CERTAIN", "LEAST", "STEP", "Form", "find"]


class _Form(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("swapped", "scale", "header", "limit", "either")]


def find(
    form: Form, window: NDArray[np.uint8], start: int, until: int, *, ends: bool, before: int | None
) -> int | None:
    """The first place in ``window[start:until]`` from which records certainly go on; None where there is none.

    Certain: regular records lead from there, one after another, exactly to the end of the file (``ends``: the window
    ends with it; ``before``: the seconds of the packet before, from which the first may not be far) or over
    ``CERTAIN`` bytes, so that no packet's payload can be meant.
    """
    core = library()
    if core is None:
        return twin_pcap_find.find(form, window, start, until, ends=ends, before=before)
    if start >= window.size:
        return None
    size = ctypes.c_size_t
    call = function(
        core,
        "ec_pcap_find",
        size,
        ctypes.c_void_p,
        ctypes.c_void_p,
        size,
        size,
        size,
        ctypes.c_uint32,
        ctypes.c_uint32,
        ctypes.c_void_p,
    )
    reach = np.empty(window.size - start, np.uint32)
    job = _Form(*form)
    found = call(
        ctypes.addressof(job), pointer(window), window.size, start, until, ends, _unknown(before), pointer(reach)
    )
    return None if found >= window.size else int(found)


def _unknown(seconds: int | None) -> int:
    return 2**32 - 1 if seconds is None else seconds
