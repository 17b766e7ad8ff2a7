"""The Temporal command line and its development server."""
