"""
The access log: what is recorded of a response, and the formats of its line.

Start with `access_record`.
"""
