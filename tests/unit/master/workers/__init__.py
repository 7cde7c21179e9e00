"""Tests of `clusterapp.master.workers`."""
