"""Tests of `clusterapp.spawning`."""
