"""Tests of `clusterapp.http.tls`."""
