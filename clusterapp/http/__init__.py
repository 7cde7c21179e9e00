"""HTTP/1.1: what clients say to a worker, and what a worker says to the core."""
