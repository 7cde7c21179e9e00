"""What an operator controls a running cluster with: a socket, an API, a command."""
