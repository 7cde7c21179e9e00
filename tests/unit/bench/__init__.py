"""Tests of the programs of `bench`."""
