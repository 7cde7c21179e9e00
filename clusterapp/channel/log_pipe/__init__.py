"""
The pipe of a child's log events: their JSON, the records around it, and plain lines.

Start with `log_events`. This package may import only what is below `channel`.
"""
