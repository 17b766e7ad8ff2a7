"""What a check-up finds: one line each, with the remedy for what is not right."""

from enum import StrEnum

from rap.models import Model


class Level(StrEnum):
    """How a thing stands."""

    OK = "ok"
    REPAIRED = "repaired"
    """It was wrong, and is right now."""
    WARNING = "warning"
    """Jobs run, but something is worth a look."""
    PROBLEM = "problem"
    """Jobs will fail or wait."""


class Finding(Model):
    """One thing that was looked at. Holds no secret value."""

    subject: str
    level: Level
    text: str
    remedy: str = ""
    """A command or a sentence; empty only if all is well."""


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding(subject=subject, level=Level.OK, text=text)


def repaired(subject: str, text: str) -> Finding:
    """Mended."""
    return Finding(subject=subject, level=Level.REPAIRED, text=text)


def warning(subject: str, text: str, remedy: str) -> Finding:
    """Worth a look."""
    return Finding(subject=subject, level=Level.WARNING, text=text, remedy=remedy)


def problem(subject: str, text: str, remedy: str) -> Finding:
    """To be mended."""
    return Finding(subject=subject, level=Level.PROBLEM, text=text, remedy=remedy)
