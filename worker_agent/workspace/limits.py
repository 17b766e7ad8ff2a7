"""How much of what a job leaves behind is kept."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one job."""

    outputs: int = 50_000
    """Files. Each is an entry of the manifest, which every reader reads whole."""
    sparse_from: int = 1024**3
    """Bytes of a file from which on it is asked whether it was ever written."""
    forced_singly: int = 32
    """Outputs that are forced to the disk one by one; more of them all at once."""
    log_lines: int = 100_000
    log_bytes: int = 256 * 1024 * 1024
    """Of the program's lines; a line may have any length, and the log is kept three times."""


LIMITS = Limits()
