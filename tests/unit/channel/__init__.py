"""Tests of `clusterapp.channel`."""
