"""Outputs put together aside: copied from the volume, checked, and what level 4 is to show.

Each output is copied once for the workspace, checked there, and, if it passes, copied once more for
level 4: so what was checked, what is shown and what was hashed are the same bytes
(docs/spec/agent.md 9.5 to 9.7).
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from rap.egress import Fault
from rap.errors import PermanentFault
from rap.models import PrivacyLevel
from worker_agent.atomic_files import write_new
from worker_agent.disk import require_space
from worker_agent.workspace import level4, safe_paths
from worker_agent.workspace.copying import Copied, Unwanted, copy_open_file
from worker_agent.workspace.found_outputs import Found
from worker_agent.workspace.level4 import Level4Limits, Level4Verdict
from worker_agent.workspace.manifest import PublishedOutput


class Staged(NamedTuple):
    """One output of a job, ready to be filed."""

    name: str
    """In the workspace."""
    number: str
    """In the staging folders: of the file, and of what level 4 is to show."""
    level: PrivacyLevel
    """Of the file, for records; in the manifest one that is kept back has that of its pattern."""
    output: PublishedOutput
    found: Found | None
    """Whose it is, if the job did not make it."""


class Staging(NamedTuple):
    """Copies outputs from a volume into the staging folders of both areas, all open."""

    volume: int
    high: int
    medium: int
    limits: Level4Limits
    durable: bool
    stopped: Unwanted

    def add(self, number: str, name: str, level: PrivacyLevel, found: Found | None) -> Staged:
        """Stage an output that a pattern gives a level.

        Raises:
            Interrupted: the attempt is ``stopped``.
            PermanentFault: OUTPUTS_REFUSED.
            TransientFault: DISK_FULL.
        """
        with _opened(self.volume, name) as source:
            copied = self._copy(source, self.high, number, name)
        level = found.level if found else level
        shown_as, verdict = level, Level4Verdict()
        if found is not None and found.withheld:
            shown_as = PrivacyLevel.MODERATELY_SENSITIVE
            verdict = Level4Verdict(messages=(found.withheld,))
            self._stage_message(number, verdict)
        elif level is PrivacyLevel.MODERATELY_SENSITIVE:
            verdict = self._pass_gate(number, name, copied)
        output = PublishedOutput(
            level=shown_as,
            size=copied.size,
            timestamp=os.stat(number, dir_fd=self.high).st_mtime,
            content_hash=copied.sha256,
            excluded=verdict.excluded,
            message=verdict.message,
            row_count=verdict.row_count,
            col_count=verdict.col_count,
        )
        return Staged(name, number, level, output, found)

    def _pass_gate(self, number: str, name: str, copied: Copied) -> Level4Verdict:
        """Check our own copy, and stage its bytes for level 4, or a message file in their place."""
        descriptor = os.open(number, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.high)
        with os.fdopen(descriptor, "rb") as file:
            verdict = level4.decide(file, name, self.limits)
            if verdict.excluded:
                self._stage_message(number, verdict)
                return verdict
            require_space(self.medium, copied.size)
            shown = self._copy(file.fileno(), self.medium, number, name)
            if shown != copied:
                raise PermanentFault(Fault.OUTPUTS_REFUSED, f"{name} was changed after its check")
        return verdict

    def _copy(self, source: int, folder: int, number: str, name: str) -> Copied:
        return copy_open_file(
            source, folder, number, called=name, durable=self.durable, unwanted=self.stopped
        )

    def _stage_message(self, number: str, verdict: Level4Verdict) -> None:
        text = verdict.message_file.encode()
        write_new(self.medium, message_file(number), text, durable=self.durable)


def message_file(name: str) -> str:
    """What stands at level 4 in the place of a file that is kept back."""
    return f"{name}.txt"


def check_sizes(high: int, sizes: Mapping[str, int]) -> None:
    """Refuse what no disk could hold, such as a sparse giant, before copying any of it."""
    needed = sum(sizes.values())
    disk = os.fstatvfs(high)
    if needed > disk.f_blocks * disk.f_frsize:
        raise PermanentFault(
            Fault.OUTPUTS_REFUSED, f"The outputs are larger than the whole disk: {needed} bytes"
        )
    require_space(high, needed)


@contextmanager
def _opened(volume: int, name: str) -> Iterator[int]:
    try:
        source = safe_paths.open_file(volume, name)
    except (safe_paths.NotARegularFile, FileNotFoundError, NotADirectoryError) as error:
        raise PermanentFault(
            Fault.OUTPUTS_REFUSED, f"{name} is not an ordinary file any more"
        ) from error
    except PermissionError as error:
        raise PermanentFault(Fault.OUTPUTS_REFUSED, f"{name} cannot be read") from error
    try:
        if os.fstat(source).st_nlink > 1:
            raise PermanentFault(Fault.OUTPUTS_REFUSED, f"{name} is a hard link")
        yield source
    finally:
        os.close(source)
