"""Tests of `clusterapp.http.exchange`."""
