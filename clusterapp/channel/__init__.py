"""The messages of the control channel between a master and its child processes."""
