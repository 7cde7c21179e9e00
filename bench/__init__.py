"""Clusterapp against its peers: ``python -m bench``. It is no test."""
