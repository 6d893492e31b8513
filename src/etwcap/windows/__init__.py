"""Thin bindings to the Windows that is running, one module per DLL or subject; no policy.

Every module can be imported on every OS: a DLL is loaded and a function looked up when it is first called. DLLs and
programs are taken by their absolute path in System32; no environment variable, setting or search path changes which one
(tests hand a stand-in to the internal constructor). Structures are in the ``layouts_*`` modules and are checked against
MinGW's headers by the tests. Processes of 64 bits only.
"""
