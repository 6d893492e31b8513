"""Live capture on Windows: what each tap needs of the machine, opening it, and the source that it becomes.

Everything here can be imported on every OS; only opening a tap needs Windows.
"""
