"""The master: it owns the sockets, keeps the children alive, and hosts the core."""
