"""Tests of `clusterapp.master.rollout`."""
