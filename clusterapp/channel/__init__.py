"""The words that a master and its children say to each other."""
