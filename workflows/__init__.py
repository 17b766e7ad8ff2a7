"""The workflows, and the pure decisions they make."""
