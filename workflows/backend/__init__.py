"""One backend: slots, queue, switches, agents."""
