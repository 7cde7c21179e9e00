"""Applications: what a user writes, and how its parts are found and served."""
