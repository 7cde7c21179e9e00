"""
Static files: lookup, cache, conditional requests, ranges and content codings.

Start with `static_files`.
"""
