"""
The server side: a site, its connections, and how they begin, drain and end.

Start with `connection`, then `site`. No event loop is in it: `transports` has an
adapter for each kind of transport.
"""
