"""``rap backend …``: what operators show and order (docs/spec/controller.md 12, 15).

Every order is a signal that could as well be sent from the Web UI, is carried out once however
often it is given, and returns when the backend shows its effect. Who, when and why is kept.
"""

from cli.lazy_group import LazyGroup

group = LazyGroup(
    __name__,
    (
        "list",
        "show",
        "pause",
        "unpause",
        "db-maintenance",
        "prepare-for-reboot",
        "drain",
        "limits",
        "priority",
        "host-lost",
        "window",
    ),
    name="backend",
    help="Operate a backend: capacity, pause, database maintenance, reboot.",
)
