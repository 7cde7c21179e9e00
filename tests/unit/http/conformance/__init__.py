"""Tests of how requests are read (RFC 9110 and 9112), and of hostile ones."""
