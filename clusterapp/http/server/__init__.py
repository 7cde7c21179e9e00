"""
What connections, messages and the site of the HTTP server share; uses no event loop.

Start with `server_interfaces`: what each of them needs of the others. This package may
import `syntax`, `access_log` and the packages below `http`.
"""
