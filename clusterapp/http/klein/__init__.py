"""
Klein's dispatch for requests of this engine, with compiled routes.

Start with `klein_resource`.
"""
