"""
The reverse proxies of a worker: to the core, and as a relay to other workers.

Start with `proxied_request`, then `reverse_proxy` and `relay`. This package may import
what is below `worker`, and nothing else of `worker`.
"""
