"""Tests of `clusterapp.http`."""
