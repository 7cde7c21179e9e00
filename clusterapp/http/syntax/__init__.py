"""
The bytes of HTTP: request heads, chunked bodies, response heads, WebSocket frames.

Sans-I/O: bytes in, values out, `BadMessageError` for what is malformed. Start with
`request_head`. It may import `clusterapp.http.limits` and what is below `http`.
"""
