"""Tests of `clusterapp.control.exports`."""
