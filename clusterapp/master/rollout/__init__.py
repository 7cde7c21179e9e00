"""
Deploys: generations, releases, canaries, and the rollout of a new release.

Start with `deployment`. It drives `workers` and `core`.
"""
