"""The application a user writes: how it is loaded, routed, hosted and served."""
