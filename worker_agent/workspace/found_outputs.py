"""Outputs that a job only found: whose they are, and the level that they keep. Pure.

A pattern may cover what the job did not make: an input, or a file of the repository. It goes on
counting as an output. But a level is the word of the one who made the file: what another action
declared stricter is not shown to anybody because a wildcard of this one covers it.
"""

from typing import NamedTuple

from rap.models import PrivacyLevel
from worker_agent.workspace import level4_texts
from worker_agent.workspace.level4_texts import Message
from worker_agent.workspace.provenance import InputFile

_STRICTNESS = (
    PrivacyLevel.MINIMALLY_SENSITIVE,
    PrivacyLevel.MODERATELY_SENSITIVE,
    PrivacyLevel.HIGHLY_SENSITIVE,
)


class Found(NamedTuple):
    """An output that was in the volume from the start, and was not touched."""

    level: PrivacyLevel
    made_by: str | None
    """The job that made it; ``None``: it is from the repository."""
    remark: str
    """Where it is from, for the log of the job."""
    withheld: Message | None = None
    """Why it is kept from level 4, though its pattern would show it."""


def decide(name: str, level: PrivacyLevel, source: InputFile | None) -> Found:
    """What is to become of an untouched file that a pattern gives a level.

    ``source`` tells of the job that made it; ``None``: it is from the repository.
    """
    if source is None:
        return Found(level, None, "it comes from the repository")
    if source.level is None:
        remark = f"it was made by {source.action}, whose record does not tell its level"
        return Found(level, source.job_id, remark)
    remark = f"it was made by {source.action} as {source.level}"
    if _STRICTNESS.index(source.level) <= _STRICTNESS.index(level):
        return Found(level, source.job_id, remark)
    withheld = None
    if level is PrivacyLevel.MODERATELY_SENSITIVE:
        withheld = level4_texts.stricter_maker(name, source.action, source.level)
    return Found(source.level, source.job_id, remark, withheld)
