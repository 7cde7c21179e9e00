"""Tests of logs and access logs of real processes."""
