"""Tests of `clusterapp.demo`."""
