"""Starting child processes, and the resources that they may use."""
