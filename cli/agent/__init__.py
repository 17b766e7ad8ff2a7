"""``rap agent …``: what operators do on a backend's own host (docs/spec/agent.md 15).

These commands read the agent's own settings, storage folders and container engine, so they are run
where the agent runs, as its user; none of them needs the agent to be running.
"""

from cli.lazy_group import LazyGroup

group = LazyGroup(
    __name__,
    ("kill", "jobs", "logs", "manifest", "ehrql-telemetry", "ehrql-log-telemetry", "check"),
    name="agent",
    help="Look after the jobs of this backend host: run it where the agent runs, as its user.",
)
