"""Tests of `clusterapp.master.distribution`."""
