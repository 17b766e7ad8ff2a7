"""The periodic checks of a backend's database."""
