"""
Responses that the cluster makes by itself: error pages and the health check.

Start with `health_path`. This package may import `static` and what is below `web`.
"""
