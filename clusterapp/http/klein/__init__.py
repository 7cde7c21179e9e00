"""
Klein's dispatch of requests of this engine, and the memory of matched routes.

Start with `klein_resource`.
"""
