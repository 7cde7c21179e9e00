"""A worker process: serves the application and forwards requests to the core."""
