"""Tests of `clusterapp.master.core`."""
