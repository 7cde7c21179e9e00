"""Tests of `clusterapp.listening`."""
