"""The images that jobs run in: found, pulled, or built here as stand-ins."""
