"""One workspace: which job is the latest of each action, and the creation of RAPs."""
