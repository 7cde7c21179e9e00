"""
Klein's dispatch for requests of this engine, with a cache of matched routes.

Start with `klein_resource`.
"""
