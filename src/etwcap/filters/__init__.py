"""Capture filters: the language of pcap-filter(7), compiled to a program that the native core runs over a chunk."""
