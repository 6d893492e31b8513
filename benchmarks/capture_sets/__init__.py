"""Captures with IPv6 of many origins, on which the accuracy of what is rebuilt is measured.

The rules of the rebuilder were written with the tuning origins in view; the scoring origins serve for numbers alone.
The split is by origin, so that no scored capture is a sibling of one that was tuned on.
"""

from __future__ import annotations

TUNING = {
    "wireshark": "test captures of Wireshark (Debian's source package)",
    "dnscap": "test captures of dnscap: fragments of every kind (Debian's source package)",
    "mptcpanalyzer": "examples of mptcpanalyzer (PyPI)",
    "made-protocols": "made by scapy: one capture for each protocol, number of hosts, kind of checksum",
    "kernel-tcp": "Linux: TCP with and without offload, large sends, resets",
    "kernel-lossy": "Linux: TCP over a wire that loses and reorders",
    "kernel-control": "Linux: ICMPv6, neighbours, path MTU, traceroute, fragments",
    "bird": "BIRD: OSPFv3, RIPng, Babel, BGP, BFD, router advertisements",
    "keepalived": "keepalived: VRRPv3",
    "names": "avahi: mDNS; chrony: NTP",
    "quic": "aioquic: QUIC",
}
SCORING = {
    "tcpflow": "test captures of tcpflow (Debian's source package)",
    "pypacker": "test captures of pypacker (PyPI)",
    "bittwist": "test captures of bittwist (Debian's source package)",
    "gopacket": "test captures of gopacket (Debian's source package)",
    "made-hosts": "made by scapy: the traffic of one machine with 2 to 400 peers, all protocols, half with offload",
    "kernel-datagrams": "Linux: UDP with and without offload and checksum, large sends, fragments, UDP-Lite",
    "frr": "FRR: OSPFv3, RIPng, BGP, BFD",
    "addresses": "dnsmasq and dhclient: DHCPv6, DNS, RA; radvd, rdisc6, ndisc6",
    "programs": "iperf3, HTTP, mtr, traceroute",
    "tunnels": "Linux's traffic through IPv4, IPv6, GRE, ESP, EtherIP and L2TPv3 in user space",
}
"""origin: what is in it"""
