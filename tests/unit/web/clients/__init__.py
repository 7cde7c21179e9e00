"""Tests of `clusterapp.web.clients`."""
