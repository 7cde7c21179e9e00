"""
The access log: the record of a response, and the formats of its line.

Start with `access_record`.
"""
