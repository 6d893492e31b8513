"""Names of ETW providers and kernel event classes that a trace names only by GUID or by group number.

A schema or the provider's own traits in the trace come first; this table is for events that have neither.
"""

from __future__ import annotations

from etwcap.etl.values import guid_bytes, guid_text

__all__ = [
    "CLR_PROVIDERS",
    "NETWORK_PROVIDERS",
    "PACKET_PROVIDERS",
    "group_name",
    "guid_bytes",
    "guid_text",
    "provider_name",
]

NDIS_PACKET_CAPTURE = guid_bytes("2ed6006e-4729-4609-b423-3ee7bcd678ef")
PKTMON = guid_bytes("4d4f80d9-c8bd-4d73-bb5b-19c90402c5ac")
WFP_CAPTURE = guid_bytes("c22d1b14-c242-49de-9f17-1d76b8b9c458")
RAS_CAPTURE = guid_bytes("d84521f7-2235-4237-a7c0-14e3a9676286")
PEF_NDIS = guid_bytes("9de85b12-1202-467c-8047-ed308fb776c3")

PACKET_PROVIDERS = {
    NDIS_PACKET_CAPTURE: "Microsoft-Windows-NDIS-PacketCapture",
    PKTMON: "Microsoft-Windows-PktMon",
    WFP_CAPTURE: "Microsoft-Pef-WFP-MessageProvider",
    RAS_CAPTURE: "Microsoft-Windows-Ras-NdisWanPacketCapture",
    PEF_NDIS: "Microsoft-PEF-NDIS-PacketCapture",
}
"""Providers whose events hold packets."""

NETWORK_PROVIDERS = {
    guid_bytes(text): name
    for text, name in (
        ("2f07e2ee-15db-40f1-90ef-9d7ba282188a", "Microsoft-Windows-TCPIP"),
        ("e53c6823-7bb8-44bb-90dc-3f86090d48a6", "Microsoft-Windows-Winsock-AFD"),
        ("7dd42a49-5329-4832-8dfd-43d979153a88", "Microsoft-Windows-Kernel-Network"),
        ("1c95126e-7eea-49a9-a3fe-a378b03ddb4d", "Microsoft-Windows-DNS-Client"),
        ("cdead503-17f5-4a3e-b7ae-df8cc2902eb9", "Microsoft-Windows-NDIS"),
        ("55404e71-4db9-4deb-a5f5-8f86e46dde56", "Microsoft-Windows-Winsock-NameResolution"),
        ("43d1a55c-76d6-4f7e-995c-64c711e5cafe", "Microsoft-Windows-WinINet"),
        ("50b3e73c-9370-461d-bb9f-26f32d68887d", "Microsoft-Windows-WebIO"),
        ("7d44233d-3055-4b9c-ba64-0d47ca40a232", "Microsoft-Windows-WinHttp"),
        ("dd5ef90a-6398-47a4-ad34-4dcecdef795f", "Microsoft-Windows-HttpService"),
        ("9580d7dd-0379-4658-9870-d5be7d52d6de", "Microsoft-Windows-WLAN-AutoConfig"),
        ("988c59c5-0a1c-45b6-a555-0c62276e327d", "Microsoft-Windows-SMBClient"),
        ("d48ce617-33a2-4bc3-a5c7-11aa4f29619e", "Microsoft-Windows-SMBServer"),
        ("9a280ac0-c8e0-11d1-84e2-00c04fb998a2", "Windows Kernel: TcpIp"),
        ("bf3a50c5-a9c9-4988-a005-2df0b7c80f80", "Windows Kernel: UdpIp"),
    )
}
"""Providers that tell of connections, names or requests, but hold no packets."""

CLR_PROVIDERS = {
    guid_bytes(text): name
    for text, name in (
        ("e13c0d23-ccbc-4e12-931b-d9cc2eee27e4", "Microsoft-Windows-DotNETRuntime"),
        ("a669021c-c450-4609-a035-5af59af4df18", "Microsoft-Windows-DotNETRuntimeRundown"),
        ("763fd754-7086-4dfe-95eb-c01a46faf4ca", "Microsoft-Windows-DotNETRuntimePrivate"),
        ("8e9f5090-2d75-4d03-8a81-e5afbf85daf1", "System.Diagnostics.Eventing.FrameworkEventSource"),
        ("2e5dba47-a3d2-4d16-8ee0-6671ffdcd7b5", "System.Threading.Tasks.TplEventSource"),
    )
}
"""Providers of the .NET runtime."""

BOOKKEEPING = {
    guid_bytes(text): name
    for text, name in (
        ("68fdd900-4a3e-11d1-84f4-0000f80464e3", "Windows Kernel: EventTrace"),
        ("9b79ee91-b5fd-41c0-a243-4248e266e9d0", "SystemConfigEx (machine facts)"),
        ("bbccf6c1-6cd1-48c4-80ff-839482e37671", "EventMetadata (event schemas)"),
        ("b3e675d7-2554-4f18-830b-2762732560de", "ImageId (symbol identities)"),
        ("ed54dff8-c409-4cf6-bf83-05e1e61a09c4", "WinSAT (system assessment)"),
        ("01853a65-418f-4f36-aefc-dc0f1d2fd235", "Windows Kernel: SystemConfig"),
        ("b675ec37-bdb6-4648-bc92-f3fdc74d3ca2", "Microsoft-Windows-Kernel-EventTracing"),
    )
}
"""What Windows adds to a trace by itself; says nothing about what was traced."""

_OTHERS = {
    guid_bytes(text): name
    for text, name in (
        ("22fb2cd6-0e7b-422b-a0c7-2fad1fd0e716", "Microsoft-Windows-Kernel-Process"),
        ("edd08927-9cc4-4e65-b970-c2560fb5c289", "Microsoft-Windows-Kernel-File"),
        ("70eb4f03-c1de-4f73-a051-33d13d5413bd", "Microsoft-Windows-Kernel-Registry"),
        ("c7bde69a-e1e0-4177-b6ef-283ad1525271", "Microsoft-Windows-Kernel-Disk"),
        ("331c3b3a-2005-44c2-ac5e-77220c37d6b4", "Microsoft-Windows-Kernel-Power"),
        ("a68ca8b7-004f-d7b6-a698-07e2de0f1f5d", "Microsoft-Windows-Kernel-General"),
        ("a0c1853b-5c40-4b15-8766-3cf1c58f985a", "Microsoft-Windows-PowerShell"),
        ("315a8872-923e-4ea2-9889-33cd4754bf64", "Microsoft-Windows-Immersive-Shell"),
        ("5770385f-c22a-43e0-bf4c-06f5698ffbd9", "Microsoft-Windows-Sysmon"),
        ("3d6fa8d0-fe05-11d0-9dda-00c04fd7ba7c", "Windows Kernel: Process"),
        ("3d6fa8d1-fe05-11d0-9dda-00c04fd7ba7c", "Windows Kernel: Thread"),
        ("3d6fa8d3-fe05-11d0-9dda-00c04fd7ba7c", "Windows Kernel: PageFault"),
        ("3d6fa8d4-fe05-11d0-9dda-00c04fd7ba7c", "Windows Kernel: DiskIo"),
        ("90cbdc39-4a3e-11d1-84f4-0000f80464e3", "Windows Kernel: FileIo"),
        ("ae53722e-c863-11d2-8659-00c04fa321a1", "Windows Kernel: Registry"),
        ("2cb15d1d-5fc1-11d2-abe1-00a0c911f518", "Windows Kernel: Image"),
        ("ce1dbfb4-137e-4da6-87b0-3f59aa102cbc", "Windows Kernel: PerfInfo"),
        ("def2fe46-7bd6-4b80-bd94-f57fe20d0ce3", "Windows Kernel: StackWalk"),
    )
}

_GROUPS = {
    0x00: "EventTrace", 0x01: "DiskIo", 0x02: "Memory", 0x03: "Process", 0x04: "FileIo", 0x05: "Thread", 0x06: "TcpIp",
    0x07: "Job", 0x08: "UdpIp", 0x09: "Registry", 0x0A: "DbgPrint", 0x0B: "SystemConfig", 0x0F: "PerfInfo",
    0x14: "Image", 0x18: "StackWalk",
}  # fmt: skip
"""EVENT_TRACE_GROUP_ of NTWMI.H: the upper byte of a hook id."""


def provider_name(guid: bytes) -> str:
    """The name of a well-known provider or kernel event class by its 16 bytes; empty where it is not known here."""
    for table in (PACKET_PROVIDERS, NETWORK_PROVIDERS, CLR_PROVIDERS, BOOKKEEPING, _OTHERS):
        if guid in table:
            return table[guid]
    return ""


def group_name(group: int) -> str:
    """The name of a kernel event group (the upper byte of a hook id)."""
    return f"Windows Kernel: {_GROUPS.get(group, f'group 0x{group:02X}')}"
