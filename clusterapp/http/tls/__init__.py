"""
TLS of listeners: certificates by SNI, their renewal, bounds on handshakes.

Start with `certificates`.
"""
