"""Tests of `clusterapp.logs`."""
