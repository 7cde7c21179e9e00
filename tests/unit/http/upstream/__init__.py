"""Tests of `clusterapp.http.upstream`."""
