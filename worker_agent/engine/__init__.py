"""The container engine of a backend host."""
