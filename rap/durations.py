"""Lengths and points of time as operators write and read them. Pure."""

import re
from datetime import UTC, datetime, timedelta

from rap.errors import ConfigurationError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)([smhdw]?)")


def length_s(text: str, *, option: str) -> float:
    """Seconds, from ``90``, ``90s``, ``15m``, ``4h``, ``2d`` or ``1w``.

    Raises:
        ConfigurationError: ``text`` is none of these; it names ``option``.
    """
    found = _LENGTH.fullmatch(text.strip().lower())
    if found is None:
        raise ConfigurationError(
            f"{option} must be a time such as 90s, 15m, 4h or 2d, not {text!r}"
        )
    return timedelta(**{_UNITS[found[2] or "s"]: float(found[1])}).total_seconds()


def since(text: str, now: float, *, option: str) -> float:
    """A moment in the past, from a length of time ago, a date or an ISO time.

    A date or time without a zone is one of this machine.

    Raises:
        ConfigurationError: ``text`` is none of these; it names ``option``.
    """
    if _LENGTH.fullmatch(text.strip().lower()):
        return now - length_s(text, option=option)
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        raise ConfigurationError(
            f"{option} must be a time ago such as 4h or 2d, or a moment such as 2026-01-31 or "
            f"2026-01-31T14:00, not {text!r}"
        ) from None


def roughly(seconds: float) -> str:
    """A length of time as people say it: ``under a minute``, ``20 min``, ``3 h``, ``2 days``."""
    minutes = seconds / 60
    if minutes < 1:
        return "under a minute"
    if minutes < 10:
        return f"{round(minutes)} min"
    if minutes < 90:
        return f"{5 * round(minutes / 5)} min"
    hours = minutes / 60
    if hours < 36:
        return f"{round(hours)} h"
    return f"{round(hours / 24)} days"


def clock(moment: float | None) -> str:
    """A moment in the time zone of this machine, to the second; empty for none."""
    if moment is None:
        return ""
    return datetime.fromtimestamp(moment, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(moment: float | None, now: float) -> str:
    """How long ago something was: ``12 s ago``; ``never`` for none."""
    if moment is None:
        return "never"
    seconds = max(0.0, now - moment)
    return f"{seconds:.0f} s ago" if seconds < 90 else f"{roughly(seconds)} ago"
