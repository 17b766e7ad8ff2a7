"""The HTTP facade that job-server talks to; it decides nothing."""
