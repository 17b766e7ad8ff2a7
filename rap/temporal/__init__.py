"""Temporal as every process uses it: the client, how payloads are written, search attributes."""
