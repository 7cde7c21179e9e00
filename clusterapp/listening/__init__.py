"""Listening sockets: making them, inheriting them, accepting from them."""
