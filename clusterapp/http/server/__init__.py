"""
HTTP server: the site, its connections, and how connections open, drain and close.

Start with `connection`, then `site`. This package uses no event loop: `transports`
has an adapter for each kind of transport.
"""
