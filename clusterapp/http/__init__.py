"""
HTTP/1.1: the server of a worker and of a core, and the client between them.

Start with `site`, then `server` and `syntax`; each sub-package describes its purpose.
It may import `channel` and the packages below, and uses an event loop or a reactor.
"""
