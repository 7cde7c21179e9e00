"""Tests of worker and core processes: forwarded requests, forks, isolation."""
