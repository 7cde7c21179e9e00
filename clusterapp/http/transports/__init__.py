"""
Adapters of connections to transports: asyncio's in workers, Twisted's in a core.

Start with `asyncio_adapter`, which every worker uses. The other modules serve a
connection before or beside its transport: responses written to the bare socket, PROXY
protocol headers, TLS handshakes, sendfile(2).
"""
