"""
Streamed exchange: one request and its response, for a handler that forwards them.

Start with `exchange`, which is the interface; `connection_exchange` implements it for
a connection of the server.
"""
