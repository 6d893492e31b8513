"""IPv6 headers that raw sockets leave out, rebuilt over the records' own bytes."""

from __future__ import annotations

from etwcap.packets import Chunk, Context


class Ipv6HeaderStage:
    """Writes the IPv6 header before each packet that came without one (rows whose ``raw_record`` is not 0 and whose
    record says family 6).

    The candidates are the addresses in ``context.addresses`` and every source address seen. With a file, call
    :meth:`learn` with every chunk of a first pass, then :meth:`process` with every chunk of a second one; with a pipe
    or a live tap, :meth:`process` alone uses what is known so far.
    """

    def __init__(self, context: Context, *, infer: bool = True, comments: bool = False) -> None:
        """``infer=False`` writes only what is known for certain (``--repair none``): no Next Header (255), no
        destination but that of IPV6_PKTINFO. ``comments`` says of every header in words how it was inferred."""
        self._context = context
        self._infer = infer
        self._comments = comments

    def learn(self, chunk: Chunk) -> None:
        """Take in addresses and flows of a first pass; the chunk stays as it is."""

    def process(self, chunk: Chunk) -> Chunk:
        """The chunk with a header before each packet: offset -= 40, captured and original += 40."""
        return chunk

    def finish(self) -> None:
        """No packet is held."""
