"""Tests of `clusterapp.web`."""
