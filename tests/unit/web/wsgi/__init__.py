"""Tests of `clusterapp.web.wsgi`."""
