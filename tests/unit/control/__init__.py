"""Tests of `clusterapp.control`."""
