"""Tests of `clusterapp.http.application`."""
