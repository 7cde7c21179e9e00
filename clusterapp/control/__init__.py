"""Operator control of a running cluster: a socket, an HTTP API, a command."""
