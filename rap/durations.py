"""Lengths and points of time as people write and read them. Pure."""

import re
from datetime import UTC, datetime, timedelta

from rap.errors import ConfigurationError

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_LENGTH = re.compile(
    "(?=.)"
    + "".join(
        rf"(?:(?P<{unit}>{_NUMBER}){unit[0]})?"
        for unit in ("weeks", "days", "hours", "minutes", "seconds")
    )
)
_WHOLE_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def length_s(text: str, *, option: str) -> float:
    """Seconds, from ``90``, ``90s``, ``1.5h``, ``1d12h`` or ``1w``: the largest unit first.

    Raises:
        ConfigurationError: ``text`` is none of these; it names ``option``.
    """
    seconds = _seconds(text)
    if seconds is None:
        raise ConfigurationError(
            f"{option} must be a time such as 90m, 4h or 1d12h, not {text.strip()!r}"
        )
    return seconds


def _seconds(text: str) -> float | None:
    text = text.strip().lower()
    found = _LENGTH.fullmatch(f"{text}s" if re.fullmatch(_NUMBER, text) else text)
    if found is None:
        return None
    try:
        parts = {unit: float(number) for unit, number in found.groupdict(default="0").items()}
        return timedelta(**parts).total_seconds()
    except OverflowError:  # longer than there have been days
        return None


def since(text: str, now: float, *, option: str) -> float:
    """A moment in the past, from a length of time ago, a date or an ISO time.

    A date or time without a zone is one of this machine.

    Raises:
        ConfigurationError: ``text`` is none of these; it names ``option``.
    """
    seconds = _seconds(text)
    if seconds is not None:
        return now - seconds
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        raise ConfigurationError(
            f"{option} must be a time ago such as 4h or 2d, or a moment such as 2026-01-31 or "
            f"2026-01-31T14:00, not {text!r}"
        ) from None


def exactly(seconds: float) -> str:
    """A length of time in the largest unit that has a whole number of them: ``36 hours``."""
    for length, unit in _WHOLE_UNITS:
        if seconds >= length and seconds % length == 0:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count != 1 else ''}"
    return f"{seconds:g} seconds"


def elapsed(seconds: float) -> str:
    """A length of time that still grows, in its two largest units: ``3 h 20 min``."""
    minutes, whole_seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    if minutes:
        return f"{minutes} min {whole_seconds} s"
    return f"{whole_seconds} s"


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
