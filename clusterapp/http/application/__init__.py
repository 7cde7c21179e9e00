"""
The application's request and response: `twisted.web.server.Request`.

Start with `request`. Parts of it are created when they are first used.
"""
