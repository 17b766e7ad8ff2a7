"""What operators do on a backend host, whether the agent runs or not (docs/spec/agent.md 15)."""
