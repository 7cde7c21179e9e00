"""A worker process: serves the application, and forwards what is the core's."""
