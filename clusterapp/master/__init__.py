"""The master: owns the listening sockets, supervises the children, hosts the core."""
