"""The agent worker: wiring, the container engine, and the workspace of a backend."""
