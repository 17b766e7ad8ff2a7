"""What may happen in a maintenance window. Loads no model: the command line starts with it."""

from enum import StrEnum


class WindowKind(StrEnum):
    """What a backend does during a maintenance window."""

    PAUSE = "pause"
    """Starts no jobs; running ones go on."""
    REBOOT = "reboot"
    """Starts no jobs; running ones go back to waiting."""
    MAINTENANCE = "db-maintenance"
    """Runs no database jobs; running ones go back to waiting."""

    @property
    def switch(self) -> "WindowKind":
        """What it holds: a window for a reboot holds the same switch as a pause."""
        return WindowKind.MAINTENANCE if self is WindowKind.MAINTENANCE else WindowKind.PAUSE

    def ended_by(self, backend: str) -> str:
        """The command that ends at once what a window of this kind does to a backend."""
        if self is WindowKind.MAINTENANCE:
            return f"rap backend db-maintenance off {backend}"
        return f"rap backend unpause {backend}"
