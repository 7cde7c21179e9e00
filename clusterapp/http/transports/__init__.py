"""
Adapters between connections and transports: asyncio's in workers, Twisted's in a core.

Start with `asyncio_connection`, which every worker uses. Also what comes before and
beside a transport: responses written to the bare socket, the PROXY protocol's header,
sendfile(2).
"""
