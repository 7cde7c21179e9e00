"""Tests of `clusterapp.web.templates`."""
