"""How a child process comes to be, and what it may use."""
