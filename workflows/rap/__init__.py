"""One RAP: the graph of its jobs."""
