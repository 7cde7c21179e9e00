"""
The syntax of HTTP: request heads, chunked bodies, response heads.

Sans-I/O: bytes in, values out, `BadMessageError` for malformed input. Start with
`request_stream`. It may import `clusterapp.http.connection_limits` and the packages
below `http`.
"""
