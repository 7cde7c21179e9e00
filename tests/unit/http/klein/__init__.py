"""Tests of `clusterapp.http.klein`."""
