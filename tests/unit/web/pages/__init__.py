"""Tests of `clusterapp.web.pages`."""
