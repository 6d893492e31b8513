"""EventMetadata {bbccf6c1-6cd1-48c4-80ff-839482e37671}: the schemas and value maps that merging puts into a trace."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from etwcap.etl.records import Records
from etwcap.etl.schemas import MAP_INFO, Schemas
from etwcap.etl.values import guid_bytes
from etwcap.providers.base import TraceFacts

_PKTMON = guid_bytes("4d4f80d9-c8bd-4d73-bb5b-19c90402c5ac")
_DROP_REASON = "DropReason"


class EventMetadata:
    """Collects the schemas of a trace in ``facts.schemas`` and the texts of PktMon's drop reasons."""

    guid = guid_bytes("bbccf6c1-6cd1-48c4-80ff-839482e37671")

    def __init__(self, facts: TraceFacts, ordinal: int = -(2**31)) -> None:
        """``ordinal`` is the place of ``guid`` in the source's list of providers; it may be set later."""
        self.facts = facts
        self.ordinal = ordinal

    @property
    def schemas(self) -> Schemas:
        """What was collected so far."""
        return self.facts.schemas

    def wants(self, records: Records) -> NDArray[np.bool_]:
        """The records of this provider."""
        mask: NDArray[np.bool_] = records["provider"] == self.ordinal
        return mask

    def learn(self, buffer: NDArray[np.uint8], records: Records) -> None:
        """Keep the schemas and maps; the same record may come twice."""
        for row in records:
            start, end = int(row["offset"]) + int(row["payload"]), int(row["offset"]) + int(row["size"])
            self.schemas.add(int(row["opcode"]), buffer[start:end].tobytes())
        if (records["opcode"] == MAP_INFO).any() and not self.facts.drop_reason_texts:
            reasons = self.schemas.map(_PKTMON, _DROP_REASON)
            if reasons is not None:
                self.facts.drop_reason_texts.update(reasons.texts)
