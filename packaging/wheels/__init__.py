"""Wheels for every platform from one machine: the pure wheel of the project, and a native core from a cross compiler.

The core has no Python.h in it, so that a wheel is the pure wheel plus one shared library and a platform tag
(``py3-none-PLATFORM``). Run by scripts/build-wheels.
"""
