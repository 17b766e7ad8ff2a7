"""What is said inside a backend of inputs that are not what their action filed. Pure.

These texts name files, hashes and jobs: they go to the job's log and metadata.
"""

from collections.abc import Sequence

from pydantic import ConfigDict

from rap.egress import Fault
from rap.errors import PermanentFault
from rap.models import Model
from rap.sentences import replaced_input_sentence

INPUT_FAULTS = frozenset({Fault.INPUT_REPLACED, Fault.INPUT_CHANGED})
"""Faults that the author of a study finds explained in the workspace, as the log of the action."""
_MOST_LISTED = 50
"""Files in the text; the metadata has all."""


class Filer(Model):
    """The job that filed what was found."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    job_id: str
    action: str
    succeeded: bool | None = None
    """``None``: not on record."""


class ReplacedInput(Model):
    """A file of a workspace that a job would have read, had it been the right one."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    job_id: str
    """Whose file was wanted: the planned job, or the newest later one of the action."""
    action: str
    sha256: str | None
    """What that job filed, hexadecimal; ``None``: its hash is not on record."""
    found_sha256: str
    """Of the file that stands in its place."""
    found: Filer | None = None
    """``None``: no job on record filed that."""


class InputsReplaced(PermanentFault):
    """INPUT_REPLACED: a job cannot start, since what it needs is not there any more."""

    def __init__(self, need: int, files: Sequence[ReplacedInput]) -> None:
        super().__init__(Fault.INPUT_REPLACED, _text(files))
        self.need = need
        """The first action concerned, as its place in the needs."""
        self.files = tuple(files)


def _text(files: Sequence[ReplacedInput]) -> str:
    """The sentence for the reader, and each file with both hashes and who filed it."""
    lines = [replaced_input_sentence(files[0].action or "an earlier job")]
    for file in files[:_MOST_LISTED]:
        lines += [
            f"  {file.name}",
            f"    wanted: {_hash(file.sha256)}, filed by {_job(file.job_id, file.action)}",
            f"    found:  {_found(file)}",
        ]
    if len(files) > _MOST_LISTED:
        lines.append(f"  and {len(files) - _MOST_LISTED} more, see metadata.json")
    return "\n".join(lines)


def _found(file: ReplacedInput) -> str:
    if file.found is None:
        return f"{_hash(file.found_sha256)}, no job on record filed this: it was changed by hand"
    failed = ", which failed" if file.found.succeeded is False else ""
    job = _job(file.found.job_id, file.found.action)
    return f"{_hash(file.found_sha256)}, filed by {job}{failed}"


def _job(job_id: str, action: str) -> str:
    return f"job {job_id} of {action}" if action else f"job {job_id}"


def _hash(sha256: str | None) -> str:
    return f"sha256 {sha256}" if sha256 else "a hash that is not on record"
