"""
The client side: connections from a worker to the core, or to another worker.

Start with `core_agent`. Of the rest of `http` it imports `syntax` alone.
"""
