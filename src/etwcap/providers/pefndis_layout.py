"""Microsoft-PEF-NDIS-PacketCapture: the driver that Message Analyzer brought to Windows 7 and 8.

Its events 1001 are those of Microsoft-Windows-NDIS-PacketCapture (``ndiscap_layout``) without a trailer, its 1002 is
``ndiscap_layout.LEGACY_METADATA``. From Message Analyzer's PefNdisProvider parser.
"""

from __future__ import annotations

import uuid
from typing import Final

GUID: Final = uuid.UUID("9de85b12-1202-467c-8047-ed308fb776c3").bytes_le
"""Provider GUID as it lies in a record."""
