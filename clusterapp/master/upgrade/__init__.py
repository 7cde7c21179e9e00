"""
Upgrades: a new master takes over the sockets of an old one.

Start with `upgrade`.
"""
