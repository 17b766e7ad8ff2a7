"""Inputs that went wrong once."""
