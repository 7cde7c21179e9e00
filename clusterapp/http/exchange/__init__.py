"""
One streamed request and response, as the server offers it to a proxy.

Start with `exchange`, which is the interface; `connection_exchange` implements it for
a connection of the server.
"""
