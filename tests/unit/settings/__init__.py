"""Tests of `clusterapp.settings`."""
