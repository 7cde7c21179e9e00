"""The choice of a worker for connections and clients: pure functions, BPF programs."""
