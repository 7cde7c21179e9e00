"""Tests of the HTTP engine with real sockets: TLS, the PROXY protocol, WebSockets."""
