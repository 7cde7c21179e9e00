"""
Static files: found, cached, and answered with conditions, ranges and encodings.

Start with `static_files`.
"""
