"""
The upstream client: connections from a worker to the core, or to another worker.

Start with `core_agent`. Of the other packages of `http` it imports only `syntax`.
"""
