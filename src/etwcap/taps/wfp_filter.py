"""A filter for the driver WfpCapture: through a NetEvent session, whose provider takes layers, addresses and ports.

How conditions of several kinds go together is not documented, so one kind is told (``filters.split``); the whole filter
runs behind the tap. Source: Microsoft's page of Add-NetEventWFPCaptureProvider.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from etwcap.filters.names import IP, IP6, TCP
from etwcap.filters.parser import parse
from etwcap.filters.split import Split, split
from etwcap.taps.journal import BINDING
from etwcap.taps.ndiscap_cleanup import NETEVENT, change_name
from etwcap.taps.protocol import Changes
from etwcap.windows.netevent import Cmdlet, NetEvent, Value, nothing_made

LAYERS: Final = {IP: "IPv4Inbound,IPv4Outbound", IP6: "IPv6Inbound,IPv6Outbound"}
"""CaptureLayerSet of an IP version, by EtherType"""


def told(expression: str | None) -> Split | None:
    """What of a filter the driver can be told; None: nothing."""
    found = split(parse(expression), "wfp") if expression else None
    return found if found is not None and found.pushed else None


def provider(wanted: Split, *, level: int, keywords: int) -> Cmdlet:
    """The provider of a NetEvent session that lets through what the filter may want."""
    (constraint,) = wanted.constraints
    parameters: dict[str, Value] = {"Level": level, "MatchAnyKeyword": keywords}
    if constraint.ports:
        parameters["TCPPorts" if constraint.protocol == TCP else "UDPPorts"] = constraint.ports
    elif constraint.nets:
        parameters["IPAddresses"] = [wanted.pushed[0].rpartition(" ")[2]]
    elif constraint.ether_type is not None:
        parameters["CaptureLayerSet"] = LAYERS[constraint.ether_type]
    return Cmdlet("Add-NetEventWFPCaptureProvider", parameters)


def start_filtered(net_event: NetEvent, changes: Changes, stack: ExitStack, cmdlet: Cmdlet) -> str:
    """Start a NetEvent session of this process with the provider; its name. ``stack`` removes it.

    It stands in the journal first. Raises AnotherSessionError where the machine has one already, WindowsCallError;
    then nothing is left.
    """
    journal = changes.journal()
    entry = journal.record(BINDING, change_name(changes.identity(), NETEVENT))

    def remove() -> None:
        net_event.remove(entry.name)
        journal.forget(entry)

    try:
        net_event.start(entry.name, [cmdlet])
    except BaseException as error:
        if nothing_made(error):
            journal.forget(entry)
        else:
            remove()
        raise
    stack.callback(remove)
    return entry.name
