"""
The request and response that an application sees: `twisted.web.server.Request`.

Start with `request`. Parts of it are made when somebody asks for them.
"""
