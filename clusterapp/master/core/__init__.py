"""
The core, as its master hosts it, starts it or connects to it.

Start with `core_process`.
"""
