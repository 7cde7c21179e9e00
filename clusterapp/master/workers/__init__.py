"""
The children of a master: slots, the processes in them, and their supervision.

Start with `child_slot`, then `worker_pool`. They may import only lower layers.
"""
