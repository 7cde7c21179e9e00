"""
Deploys: generations, releases, canaries, and how one release follows another.

Start with `deployment`. It drives `workers` and `core`.
"""
