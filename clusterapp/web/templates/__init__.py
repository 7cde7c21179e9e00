"""
Jinja2 templates of one folder, compiled once for all processes of a cluster.

Start with `templates`.
"""
