"""Tests of the project: installation, bench, examples, documentation."""
