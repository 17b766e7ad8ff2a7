"""The queries in the logs of ehrQL."""
