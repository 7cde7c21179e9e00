"""
TLS of listeners: certificates by SNI, their renewal, limits on handshakes.

Start with `certificates`.
"""
