"""
Distribution of connections: listener policies, accepting and passing descriptors.

Start with `distribution`; the choices themselves are in `clusterapp.dispatch`.
"""
