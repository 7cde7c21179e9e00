"""Tests of `clusterapp.master`."""
