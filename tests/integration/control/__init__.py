"""Tests of `clusterctl`, and the configurations that it exports."""
