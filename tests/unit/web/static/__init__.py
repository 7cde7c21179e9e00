"""Tests of `clusterapp.web.static`."""
