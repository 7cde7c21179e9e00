"""Tests of `clusterapp.http.access_log`."""
