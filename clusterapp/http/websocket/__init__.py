"""
The syntax of WebSocket (RFC 6455): the opening handshake, frames and their boundaries.

Sans-I/O, as `clusterapp.http.syntax`, which uses it. Start with `frames`. It may import
the packages below `http`.
"""
