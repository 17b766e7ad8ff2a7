"""The files of a crate: each copied whole and compared with what its job filed, or not taken.

What was filed anew while we looked is told from what was changed by hand: file and manifest are
looked at again together, under the lock of the workspace, within which both change.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from rap.errors import JobFault, PermanentFault
from worker_agent.crate.contents import Audience, Contents, Key, Part, Stays
from worker_agent.workspace import filing, locks, manifest, safe_paths
from worker_agent.workspace.copying import Copied, copy_open_file
from worker_agent.workspace.storage import Storage

Progress = Callable[[int, int], None]
"""Told the number of files that are done, and of all."""


class LeftOut(NamedTuple):
    """A file that would be whole in the crate, and is not as filed. Never leaves the host."""

    name: str
    stays: Stays
    filed: str
    """SHA-256 of what its job filed, hexadecimal."""
    found: str | None
    """Of what lies in its place; ``None``: nothing that could be read."""


def fill(
    contents: Contents,
    storage: Storage,
    folder: Path,
    paths: Mapping[Key, str],
    progress: Progress = lambda _done, _all: None,
) -> tuple[Contents, list[LeftOut]]:
    """Put the whole files into a folder, at their paths; the contents with what was not as filed.

    Level 4 files are those that the reviewers see; for people inside, all files are those of the
    high privacy area.

    Raises:
        JobFault: the disk is full.
        OSError: the folder cannot be written to.
    """
    parts, left_out = dict(contents.parts), list[LeftOut]()
    workshop = folder.with_name(f"{folder.name}.incoming")
    workshop.mkdir()
    taking = _Taking(contents, storage, workshop)
    for number, part in enumerate(contents.whole):
        progress(number, len(contents.whole))
        copied = taking.copy(part) or taking.copy_again(part)
        if isinstance(copied, LeftOut):
            left_out.append(copied)
            parts[part.key] = dataclasses.replace(part, stays=copied.stays)
            continue
        place = folder / paths[part.key]
        place.parent.mkdir(parents=True, exist_ok=True)
        copied.replace(place)
    workshop.rmdir()
    return dataclasses.replace(contents, parts=parts), left_out


class _Taking:
    """Takes files out of the area that the crate's readers may see."""

    def __init__(self, contents: Contents, storage: Storage, workshop: Path) -> None:
        self._storage, self._workspace = storage, contents.workspace
        for_reviewers = contents.audience is Audience.REVIEWERS
        area = storage.medium if for_reviewers else storage.high
        self._area = area(contents.workspace)
        self._workshop = workshop

    def copy(self, part: Part) -> Path | None:
        """A copy of a file, if it is what its job filed."""
        try:
            with closing(_Open(self._area, part.key.name)) as source:
                place, copied = self._copied(source)
        except (OSError, PermanentFault):
            return None
        if copied == (part.size, part.sha256):
            return place
        place.unlink()
        return None

    def copy_again(self, part: Part) -> Path | LeftOut:
        """As :meth:`copy`, beyond doubt."""
        name, filed = part.key.name, part.sha256
        with locks.workspace_lock(self._storage, self._workspace):
            # What cannot be finished now is judged as it stands.
            with suppress(JobFault):
                filing.finish_begun(self._storage, self._workspace)
            entry = manifest.read(self._storage, self._workspace)["outputs"].get(name, {})
            try:
                source = _Open(self._area, name)
            except OSError:
                return LeftOut(name, Stays.GONE, filed, None)
        with closing(source):
            try:
                place, copied = self._copied(source)
            except PermanentFault:
                return LeftOut(name, Stays.CHANGED, filed, None)
        if copied == (part.size, filed):
            return place
        place.unlink()
        still_its_own = entry.get("job_id") == part.key.job_id
        why = Stays.CHANGED if still_its_own else Stays.REPLACED
        return LeftOut(name, why, filed, copied.sha256)

    def _copied(self, source: "_Open") -> tuple[Path, Copied]:
        with safe_paths.directory(self._workshop) as workshop:
            copied = copy_open_file(
                source.descriptor, workshop, "file", called="a file", durable=False
            )
        return self._workshop / "file", copied


class _Open:
    """An ordinary file of a workspace, open; no link is followed to it."""

    def __init__(self, area: Path, name: str) -> None:
        with safe_paths.directory(area) as root:
            self.descriptor = safe_paths.open_file(root, name)

    def close(self) -> None:
        os.close(self.descriptor)
