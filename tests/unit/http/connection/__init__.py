"""Tests of `clusterapp.http.connection`."""
