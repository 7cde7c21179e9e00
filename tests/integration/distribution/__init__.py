"""Tests of which worker gets which connection and request: docs/distribution.md."""
