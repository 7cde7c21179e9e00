"""
What processes need of Linux: descriptors, forks, titles, a clock, reading of files.

Start with `descriptors`, then `forks`. This package may import `private_names` and what
holds nothing, such as `errors`; the settings and everything above import it.
"""
