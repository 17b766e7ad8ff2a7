"""Activities of the controller worker: the implementations."""
