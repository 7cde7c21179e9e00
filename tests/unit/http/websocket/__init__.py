"""Tests of `clusterapp.http.syntax`."""
