"""
One HTTP server connection, made of parts; uses no event loop.

Start with `connection`, which holds the parts and names each. `transports` has an
adapter for each kind of transport. This package may import `server`, `syntax`,
`access_log` and the packages below `http`.
"""
