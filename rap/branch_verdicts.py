"""What a process has found out itself: that a commit was on a branch when its RAP first came here
(docs/explanation/architecture.md).

A branch may be deleted, or pushed anew by force, while a RAP is under way. The commit was allowed,
so the RAP goes on. A verdict serves the jobs of its own RAP alone, and is written by nobody but the
process that asked the remote: whatever else says that a commit is allowed is not believed.
"""

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

import structlog
from pydantic import ValidationError

from rap.models import Model

KEPT_S = 60 * 24 * 3600.0
"""Seconds after which a verdict is forgotten: as long as an attempt at a job may take."""
MOST = 10_000
"""The oldest are forgotten beyond these."""
LARGEST = 4096
"""Bytes of one; the names in it come from outside."""


class Verdict(Model):
    """That a commit was on a branch when its RAP asked first."""

    rap_id: str
    repo_url: str
    branch: str
    commit: str


class _Kept(Model):
    verdict: Verdict
    at: float


class BranchVerdicts:
    """The verdicts of one process, as small files in a folder that survives its restarts."""

    def __init__(self, folder: Path, *, most: int = MOST) -> None:
        """Nothing is created before the first verdict. The folder is to be nobody else's."""
        self._folder, self._most = folder, most

    def stands(self, verdict: Verdict, *, now: float | None = None) -> bool:
        """Whether this was found out here, not too long ago."""
        try:
            kept = _Kept.model_validate_json(self._file(verdict).read_bytes())
        except (OSError, ValidationError):
            return False
        age = (time.time() if now is None else now) - kept.at
        return kept.verdict == verdict and age < KEPT_S

    def keep(self, verdict: Verdict, *, now: float | None = None) -> None:
        """Remember what the remote has just answered; without it, the next job asks again.

        A disk that takes nothing only costs that.
        """
        at = time.time() if now is None else now
        content = _Kept(verdict=verdict, at=at).model_dump_json().encode()
        if not verdict.rap_id or len(content) > LARGEST:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with NamedTemporaryFile(dir=self._folder, prefix=".", delete=False) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).rename(self._file(verdict))
            self._forget(at)
        except OSError as error:
            structlog.get_logger().warning(
                "It cannot be kept that a commit was on its branch", reason=str(error)
            )

    def _forget(self, now: float) -> None:
        """Remove what is old, or too much."""
        found = []
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):  # somebody else forgets as well
                found.append((path.stat().st_mtime, path))
        found.sort()
        too_many = len(found) - self._most
        for number, (changed_at, path) in enumerate(found):
            if number < too_many or now - changed_at >= KEPT_S:
                path.unlink(missing_ok=True)

    def _file(self, verdict: Verdict) -> Path:
        digest = hashlib.sha256(verdict.model_dump_json().encode()).hexdigest()
        return self._folder / f"{digest}.json"
