"""Tests of `clusterapp.system`."""
