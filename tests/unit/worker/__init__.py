"""Tests of `clusterapp.worker`."""
