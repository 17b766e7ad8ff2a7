"""What operators do on a backend host, with or without the agent running (agent.md 15)."""
