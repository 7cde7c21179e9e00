"""Tests of `clusterapp.master.upgrade`."""
