"""Markdown for Temporal's Web UI, from texts that others wrote. Pure.

The Web UI renders raw HTML, loads pictures and follows any link, so whatever comes from a project
file, a request or an operator goes through :func:`plain` or :func:`code` first.
"""

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from urllib.parse import quote

LONGEST_SUMMARY = 400
"""Bytes that Temporal takes as a summary (``limit.userMetadataSummarySize``)."""

LONGEST_DETAILS = 20_000
"""Bytes that Temporal takes as static details (``limit.userMetadataDetailsSize``)."""

_MARK = "…"
_HARMLESS = re.compile(r"[^A-Za-z0-9 ,;?/'\u00a1-\U0010ffff-]")
_FIT_FOR_CODE = re.compile(r"[ -_a-{}~]+")  # ASCII without backtick and bar
_QUOTES = 2
_LONGEST_ESCAPE = 12


def plain(text: str, longest: int = 120) -> str:
    """A text of others as one line that looks as it was written, and is nothing else.

    It is cut after ``longest`` characters.
    """
    line = cut(" ".join(text.split()), longest)
    return _HARMLESS.sub(lambda found: f"&#{ord(found[0])};", line)


def code(text: str, longest: int = 120) -> str:
    """A name or a command of others in the type of code; as plain text where it cannot be that."""
    line = cut(" ".join(text.split()), longest)
    body = line.removesuffix(_MARK)
    return f"`{line}`" if body and _FIT_FOR_CODE.fullmatch(body) else plain(line, longest)


def cut(text: str, longest: int) -> str:
    """A text that is no longer than so many characters, and shows where it was cut."""
    return text if len(text) <= longest else text[: longest - 1] + _MARK


def summary(text: str) -> str:
    """A text fit for a summary: one line, of a size that Temporal takes.

    The Web UI shows summaries as they are, so nothing is escaped.
    """
    return _fit(" ".join(text.split()), LONGEST_SUMMARY)


def details(text: str) -> str:
    """A text of a size that Temporal takes as static details."""
    return _fit(text, LONGEST_DETAILS)


def _fit(text: str, size: int) -> str:
    """As much of a text as takes so many bytes, however the converter may write it."""
    if len(text) * _LONGEST_ESCAPE + _QUOTES <= size or len(json.dumps(text)) <= size:
        return text
    low, high = 0, min(len(text), size)
    while low < high:
        middle = (low + high + 1) // 2
        if len(json.dumps(text[:middle] + _MARK)) <= size:
            low = middle
        else:
            high = middle - 1
    return text[:low] + _MARK


def page(*parts: str) -> str:
    """Paragraphs, lists and tables as one text.

    The Web UI's frame is a line or two too short for it, so there is some room at its end.
    """
    return "\n\n".join([*parts, *["&#160;"] * 2])


def workflow_link(label: str, workflow_id: str, namespace: str) -> str:
    """A link to the latest run of a workflow; relative, wherever the Web UI is served."""
    target = f"namespaces/{quote(namespace, safe='')}/workflows/{quote(workflow_id, safe='')}"
    return f"[{plain(label, 60)}]({target})"


def table(
    head: tuple[str, ...], rows: Iterable[tuple[str, ...]], count: int, *, most: int
) -> Iterator[str]:
    """A table of ready-made cells, and how many rows of ``count`` are not shown; nothing for none.

    Rows are made only as far as they are shown.
    """
    if count:
        lines = (head, ("---",) * len(head), *islice(rows, most))
        yield "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    if count > most:
        yield f"… and {count - most} more"


def moment(at: float | None) -> str:
    """A time to the second, in UTC; also one that no calendar has can be shown."""
    if at is None:
        return "never"
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return "at no time"


def brief(at: float | None, now: float) -> str:
    """A time to the second, in UTC, without the date if that is today's."""
    text, today = moment(at), moment(now)[:10]
    return text.removeprefix(f"{today} ").removesuffix("Z") if at is not None else text
