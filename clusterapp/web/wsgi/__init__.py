"""
WSGI applications (PEP 3333).

Start with `wsgi_resource`.
"""
