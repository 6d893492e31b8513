"""Names that the filter language knows: protocols, services, fields, constants. All are built in: a filter means the
same on every machine, whatever its /etc/services or its name servers say.

Numbers: IANA's registries of protocol numbers, service names and EtherTypes; constants as pcap-filter(7) lists them.
"""

from __future__ import annotations

IP, ARP, RARP, IP6 = 0x0800, 0x0806, 0x8035, 0x86DD
LLC_ISO, LLC_STP, LLC_IPX, LLC_NETBEUI = 0xFE, 0x42, 0xE0, 0xF0
ATALK, AARP = 0x809B, 0x80F3
VLAN_TYPES = (0x8100, 0x88A8, 0x9100)
TCP, UDP, SCTP, FRAGMENT = 6, 17, 132, 44

LINK_PROTOCOLS = {
    "ip": IP,
    "ip6": IP6,
    "arp": ARP,
    "rarp": RARP,
    "atalk": ATALK,
    "aarp": AARP,
    "decnet": 0x6003,
    "sca": 0x6007,
    "lat": 0x6004,
    "mopdl": 0x6001,
    "moprc": 0x6002,
    "iso": LLC_ISO,
    "stp": LLC_STP,
    "ipx": LLC_IPX,
    "netbeui": LLC_NETBEUI,
    "loopback": 0x9000,
    "pppoed": 0x8863,
}
"""What ``ether proto`` knows by name; most are primitives of their own too."""

TRANSPORTS: dict[str, tuple[int, str | None]] = {
    "tcp": (TCP, None),
    "udp": (UDP, None),
    "sctp": (SCTP, None),
    "icmp": (1, "ip"),
    "igmp": (2, "ip"),
    "igrp": (9, "ip"),
    "pim": (103, None),
    "vrrp": (112, "ip"),
    "carp": (112, "ip"),
    "icmp6": (58, "ip6"),
    "ah": (51, None),
    "esp": (50, None),
}
"""Primitives for an IP protocol: its number, and the one version of IP that it belongs to."""

IP_PROTOCOLS = {
    **{name: number for name, (number, _) in TRANSPORTS.items()},
    "ipv6-icmp": 58,
    "gre": 47,
    "eigrp": 88,
    "ospf": 89,
    "ipip": 4,
    "ipencap": 4,
    "ipv6": 41,
    "ipv6-frag": 44,
    "ipv6-route": 43,
    "ipv6-opts": 60,
    "ipv6-nonxt": 59,
    "egp": 8,
    "rsvp": 46,
    "l2tp": 115,
    "udplite": 136,
}
"""What ``proto``, ``ip proto`` and ``ip6 proto`` know by name."""

SERVICES: dict[str, tuple[int, frozenset[int]]] = {
    name: (port, frozenset({TCP: {TCP}, UDP: {UDP}, 0: {TCP, UDP}}[kind]))
    for name, port, kind in (
        ("ftp-data", 20, TCP),
        ("ftp", 21, TCP),
        ("ssh", 22, TCP),
        ("telnet", 23, TCP),
        ("smtp", 25, TCP),
        ("domain", 53, 0),
        ("bootps", 67, UDP),
        ("bootpc", 68, UDP),
        ("tftp", 69, UDP),
        ("http", 80, TCP),
        ("kerberos", 88, 0),
        ("pop3", 110, TCP),
        ("sunrpc", 111, 0),
        ("ntp", 123, UDP),
        ("epmap", 135, 0),
        ("netbios-ns", 137, 0),
        ("netbios-dgm", 138, 0),
        ("netbios-ssn", 139, 0),
        ("imap2", 143, TCP),
        ("imap", 143, TCP),
        ("snmp", 161, 0),
        ("snmp-trap", 162, 0),
        ("bgp", 179, TCP),
        ("ldap", 389, 0),
        ("https", 443, 0),
        ("microsoft-ds", 445, 0),
        ("isakmp", 500, UDP),
        ("syslog", 514, UDP),
        ("ldaps", 636, 0),
        ("imaps", 993, TCP),
        ("pop3s", 995, TCP),
        ("ms-sql-s", 1433, 0),
        ("l2f", 1701, 0),
        ("radius", 1812, 0),
        ("radius-acct", 1813, 0),
        ("nfs", 2049, 0),
        ("ms-wbt-server", 3389, 0),
        ("ipsec-nat-t", 4500, UDP),
        ("sip", 5060, 0),
        ("mdns", 5353, UDP),
        ("llmnr", 5355, 0),
        ("winrm", 5985, TCP),
    )
}
"""Services by name: port, and the protocols that have it (a name with one protocol matches that one only)."""

FIELDS = {"icmptype": 0, "icmpcode": 1, "icmp6type": 0, "icmp6code": 1, "tcpflags": 13}

CONSTANTS = {
    **FIELDS,
    "tcp-fin": 1,
    "tcp-syn": 2,
    "tcp-rst": 4,
    "tcp-push": 8,
    "tcp-ack": 16,
    "tcp-urg": 32,
    "tcp-ece": 64,
    "tcp-cwr": 128,
    "icmp-echoreply": 0,
    "icmp-unreach": 3,
    "icmp-sourcequench": 4,
    "icmp-redirect": 5,
    "icmp-echo": 8,
    "icmp-routeradvert": 9,
    "icmp-routersolicit": 10,
    "icmp-timxceed": 11,
    "icmp-paramprob": 12,
    "icmp-tstamp": 13,
    "icmp-tstampreply": 14,
    "icmp-ireq": 15,
    "icmp-ireqreply": 16,
    "icmp-maskreq": 17,
    "icmp-maskreply": 18,
    "icmp6-destinationunreach": 1,
    "icmp6-packettoobig": 2,
    "icmp6-timeexceeded": 3,
    "icmp6-parameterproblem": 4,
    "icmp6-echo": 128,
    "icmp6-echoreply": 129,
    "icmp6-multicastlistenerquery": 130,
    "icmp6-multicastlistenerreportv1": 131,
    "icmp6-multicastlistenerdone": 132,
    "icmp6-routersolicit": 133,
    "icmp6-routeradvert": 134,
    "icmp6-neighborsolicit": 135,
    "icmp6-neighboradvert": 136,
    "icmp6-redirect": 137,
    "icmp6-routerrenum": 138,
    "icmp6-nodeinformationquery": 139,
    "icmp6-nodeinformationresponse": 140,
    "icmp6-ineighbordiscoverysolicit": 141,
    "icmp6-ineighbordiscoveryadvert": 142,
    "icmp6-multicastlistenerreportv2": 143,
    "icmp6-homeagentdiscoveryrequest": 144,
    "icmp6-homeagentdiscoveryreply": 145,
    "icmp6-mobileprefixsolicit": 146,
    "icmp6-mobileprefixadvert": 147,
    "icmp6-certpathsolicit": 148,
    "icmp6-certpathadvert": 149,
    "icmp6-multicastrouteradvert": 151,
    "icmp6-multicastroutersolicit": 152,
    "icmp6-multicastrouterterm": 153,
}

LINK_WORDS = ("ether", "link", "wlan", "fddi", "tr", "ppp", "slip")
"""All mean the link layer of the packet."""

QUALIFIERS = (*LINK_WORDS, *(name for name in LINK_PROTOCOLS if name not in ("loopback", "pppoed")), *TRANSPORTS)
"""Words that may stand before ``host``, ``port``, ``proto`` … or ``[``."""

NOT_SUPPORTED = {
    "gateway": "it needs name tables of the machine; write: ether host MAC and not host ADDRESS",
    "protochain": "the chain of IPv6 extension headers is not walked; proto tests the first next-header field",
    "mpls": "labels are not decoded",
    "pppoes": "PPPoE sessions are not decoded",
    "geneve": "tunnels are not decoded",
    "vxlan": "tunnels are not decoded",
    "llc": "write the bytes, as in ether[14] == 0x42",
    "type": "802.11 frame types are bits of link[0], as in link[0] & 0xc == 8",
    "subtype": "802.11 subtypes are bits of link[0], as in link[0] & 0xfc == 0x80",
    "dir": "802.11 directions are bits of link[1], as in link[1] & 3 == 1",
    "byte": "write link[N]",
    "ifname": "write: if NAME",
    "ifindex": "write: if NUMBER",
    "radio": "the radiotap header cannot be indexed",
    **dict.fromkeys(("addr1", "addr2", "addr3", "addr4", "ra", "ta"), "write src, dst, or the bytes, as in link[4:4]"),
    **dict.fromkeys(
        ("clnp", "esis", "es-is", "isis", "is-is", "l1", "l2", "iih", "lsp", "snp", "csnp", "psnp"),
        "OSI protocols are not decoded; iso matches them all",
    ),
    **dict.fromkeys(
        ("vpi", "vci", "lane", "oamf4s", "oamf4e", "oamf4", "oam", "metac", "bcc", "sc", "ilmic", "connectmsg",
         "metaconnect"),
        "ATM does not occur in Windows traces",
    ),
    **dict.fromkeys(
        ("on", "rnr", "rulenum", "reason", "rset", "ruleset", "srnr", "subrulenum", "action"),
        "it concerns the log of OpenBSD's packet filter",
    ),
}  # fmt: skip
"""Words of pcap-filter(7) that are refused, and what to do instead."""

WORDS = tuple(
    dict.fromkeys(
        (
            *("and", "or", "not", "src", "dst", "host", "net", "port", "portrange", "proto", "mask"),
            *("broadcast", "multicast", "vlan", "greater", "less", "len", "inbound", "outbound", "in", "out"),
            *("dropped", "if", "pid", "process"),
            *QUALIFIERS,
            "pppoed",
        )
    )
)
"""Every keyword, for suggestions."""
