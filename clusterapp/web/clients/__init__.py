"""
The client of a request: its address behind trusted proxies, and the slot it belongs to.

Start with `trusted_proxies`. This package may import only what is below `web`.
"""
