"""Tests of `clusterapp.http.transports`."""
