"""
The core, as its master hosts it, starts it or refers to it.

Start with `core_process`.
"""
