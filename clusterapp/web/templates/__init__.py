"""
Jinja2 templates: one folder, compiled once for all processes of a cluster.

Start with `templates`.
"""
