"""The `rap` command."""
