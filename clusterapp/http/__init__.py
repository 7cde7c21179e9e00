"""
HTTP/1.1: the server of a worker and of a core, and the client between them.

Start with `server`, then `syntax`; each sub-package says what it is for. It may import
`channel` and what is below, and takes an event loop or a reactor.
"""
