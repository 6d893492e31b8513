"""Link types of a run's interfaces as a column."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from etwcap.packets.interfaces import Interface


def link_types(interfaces: Iterable[Interface]) -> NDArray[np.uint16]:
    """The ``LINKTYPE_`` value of each interface; index it with a table's ``interface`` column."""
    return np.array([interface.link_type & 0xFFFF for interface in interfaces], np.uint16)
