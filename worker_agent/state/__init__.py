"""What an agent remembers of its attempts, beside Temporal and Docker."""
