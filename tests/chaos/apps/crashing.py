"""A deploy that crashes at once."""

import os

print("this deploy crashes", flush=True)
os._exit(7)
