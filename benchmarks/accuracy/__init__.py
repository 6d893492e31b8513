"""How well what raw sockets leave out is given back: IPv6 headers and order, on captures with a known answer.

``python -m benchmarks.accuracy --captures FOLDER`` records every capture as raw sockets would have
(``synth --as raw``), rebuilds it (``convert``) and compares packet by packet with the capture. This package reads
files and headers by itself, in plain Python, so that it shares no fault with what it measures.
"""
