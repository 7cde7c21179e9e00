"""Tests of `clusterapp.worker.proxy`."""
