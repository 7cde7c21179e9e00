"""
HTTP server: its connections, and how they open, drain and close.

Start with `interfaces`, then `connection`. This package uses no event loop:
`transports` has an adapter for each kind of transport. It may import `syntax`,
`access_log` and the packages below `http`.
"""
