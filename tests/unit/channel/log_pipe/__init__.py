"""Tests of `clusterapp.channel.log_pipe`."""
