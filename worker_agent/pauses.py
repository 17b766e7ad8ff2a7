"""How long the agent waits before it tries or looks again, all in one place."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pauses:
    """Seconds."""

    early_tries: tuple[float, ...] = (1.0, 3.0, 10.0)
    """Between the tries of what costs little to give up: no program has run yet."""
    late_tries: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0) + (60.0,) * 60
    """The same once it has run: an hour, since days of computing may be at stake."""
    pull: float = 1.0
    """Between the tries to pull an image."""
    probe: float = 0.25
    """Before what does not work is tried again for the first time; doubled each time."""
    probe_most: float = 2.0
    """The longest of these pauses, as the next for an image that is missing."""
    probe_image: float = 15.0
    look_at_disks: float = 5.0
    """Between looks at the disks."""
    memory: float = 2.0
    """Between looks at a container's memory; where the kernel rings for a kill, that is seen at
    once."""
    job_heartbeat: float = 5.0
    """The workflow gives the activity up after 60 s without one."""
    check_heartbeat: float = 3.0
    """The workflow gives the activity up after 30 s without one."""
