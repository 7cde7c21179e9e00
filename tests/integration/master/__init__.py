"""Tests of masters: start, supervision of children, upgrade, stop."""
