"""The ETW providers that etwcap understands."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etwcap.providers.base import PacketProvider


def packet_providers() -> list[type[PacketProvider]]:
    """The providers whose events are packets; a new one is added here."""
    from etwcap.providers.ndiscap import NdisCapProvider
    from etwcap.providers.pefndis import PefNdisProvider
    from etwcap.providers.pktmon import PktMonProvider
    from etwcap.providers.ras import RasProvider
    from etwcap.providers.wfp import WfpProvider

    return [NdisCapProvider, PktMonProvider, WfpProvider, RasProvider, PefNdisProvider]
