"""Tests of `clusterapp.private_names`."""
