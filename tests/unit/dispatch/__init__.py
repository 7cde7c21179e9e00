"""Tests of `clusterapp.dispatch`."""
