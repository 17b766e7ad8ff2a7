"""Activities of the agent worker: the implementations."""
