"""Listening sockets: creating, inheriting and accepting."""
