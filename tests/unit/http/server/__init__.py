"""Tests of `clusterapp.http.server`."""
