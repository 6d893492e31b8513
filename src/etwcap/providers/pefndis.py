"""Microsoft-PEF-NDIS-PacketCapture: NdisCap's events as Message Analyzer's driver wrote them on Windows 7 and 8."""

from __future__ import annotations

from etwcap.providers.ndiscap import NdisCapProvider
from etwcap.providers.ndiscap_layout import Keyword
from etwcap.providers.pefndis_layout import GUID


class PefNdisProvider(NdisCapProvider):
    """The older provider: other metadata of radios, and tunnels whose packets are bare IPv6."""

    guid = GUID
    _legacy = True
    _bare = NdisCapProvider._bare | Keyword.TUNNEL
