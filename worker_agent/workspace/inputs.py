"""The inputs of a job: copied aside, judged by what was copied, and only then put in its volume.

Each file is hashed while it is copied, from one open descriptor, so what is judged are the bytes
that the job will read, whatever happens to the workspace meanwhile. Mostly they are what the
planned jobs have filed, and nothing more has to be known. Where they are not, the copies are
compared with what stands in the workspace under its lock, when all that was begun to be filed is
filed: what is out of date is copied again, without the lock, and what is up to date and still not
good ends the job.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import groupby
from operator import itemgetter
from threading import Event
from typing import NamedTuple

import structlog
from structlog.typing import FilteringBoundLogger

from rap.egress import Fault
from rap.errors import PermanentFault, TransientFault
from rap.models import JobDefinition
from worker_agent.atomic_files import replace
from worker_agent.workspace import filing, locks, safe_paths
from worker_agent.workspace.copying import Copied, Version, copy_version
from worker_agent.workspace.input_choice import Choice, choose, names_of
from worker_agent.workspace.input_records import InputRecords
from worker_agent.workspace.provenance import InputFile
from worker_agent.workspace.replaced_inputs import InputsReplaced, ReplacedInput
from worker_agent.workspace.storage import Storage

log = structlog.get_logger()

_ROUNDS = 10
"""How often files that change may be copied again before the attempt is given up for now."""


_AT_ONCE = 2
"""Copies made side by side: most of the time of a small one is waiting for the file system."""


class _Copy(NamedTuple):
    name: str
    number: str
    """Its name among the copies."""
    copied: Copied
    version: Version | None
    """Of the file that was copied; ``None``: it was written to meanwhile."""


def sizes(definition: JobDefinition, storage: Storage) -> int:
    """How many bytes the inputs of a job have, by the jobs that were planned for it.

    Raises:
        PermanentFault: INPUT_RECORD_MISSING.
        TransientFault: UNEXPECTED, the manifest is damaged.
    """
    names = names_of(InputRecords(storage, definition).planned())
    with _workspace(storage, definition) as workspace:
        return sum(version.size for version in _versions(workspace, names).values())


def gather(
    definition: JobDefinition, storage: Storage, folder: int, unwanted: Event
) -> dict[str, InputFile]:
    """Copy all inputs of a job to an open, empty directory; by their names there.

    Raises:
        Interrupted: nobody wants them any more.
        InputsReplaced: a file is not what a succeeded job of a needed action has filed.
        PermanentFault: INPUT_MISSING, INPUT_RECORD_MISSING.
        TransientFault: INPUT_CHANGED, a file changed again and again; DISK_FULL; or UNEXPECTED,
            the manifest is damaged.
    """
    with _workspace(storage, definition) as workspace:
        gathering = _Gathering(definition, storage, workspace, folder, unwanted)
        return gathering.run()


def place(folder: int, inputs: Mapping[str, InputFile], volume: int) -> None:
    """Give the copies their names in an open volume, over whatever file or link has one.

    REPOSITORY_REFUSED if the repository has something else there.
    """
    parted = sorted(
        (file.name.split("/")[:-1], file.name, number) for number, file in inputs.items()
    )
    for folders, group in groupby(parted, key=itemgetter(0)):
        name = f"{'/'.join(folders)}/"
        try:
            with safe_paths.open_directory(volume, folders, create=True) as here:
                for _, name, number in group:
                    replace(folder, number, here, name.rpartition("/")[2])
        except (NotADirectoryError, IsADirectoryError) as error:
            raise PermanentFault(
                Fault.REPOSITORY_REFUSED,
                f"the repository has something else in the place of the input file {name}",
            ) from error


class _Gathering:
    """The copies of one job's inputs, on their way to being good."""

    def __init__(
        self,
        definition: JobDefinition,
        storage: Storage,
        workspace: int | None,
        folder: int,
        unwanted: Event,
    ) -> None:
        self._definition, self._storage, self._workspace = definition, storage, workspace
        self._folder, self._unwanted = folder, unwanted
        self._copies: dict[str, _Copy] = {}
        self._made = 0

    def run(self) -> dict[str, InputFile]:
        planned = InputRecords(self._storage, self._definition).planned()
        self._copy(names_of(planned))
        choice = choose(planned, self._hashes())
        # What was read are the right bytes, so nothing else needs to be known, nor a lock held.
        if not choice.unfit and all(source.verified for source in choice.sources.values()):
            return self._good(choice)
        for _ in range(_ROUNDS):
            good, outdated = self._judge()
            if good is not None:
                return self._good(good)
            log.info(
                "inputs changed while they were copied, copying them again", files=len(outdated)
            )
            self._copy(outdated)
        listed = ", ".join(sorted(outdated)[:20])
        raise TransientFault(
            Fault.INPUT_CHANGED, f"files of the workspace changed while they were copied: {listed}"
        )

    def _judge(self) -> tuple[Choice | None, set[str]]:
        """What can be read, or which copies are out of date, by the workspace as it stands.

        Raises:
            InputsReplaced: neither; or a PermanentFault, INPUT_MISSING.
        """
        with locks.workspace_lock(self._storage, self._definition.workspace):
            filing.finish_begun(self._storage, self._definition.workspace)
            records = InputRecords(self._storage, self._definition)
            needs = records.all()
            names = names_of(needs)
            standing = _versions(self._workspace, names)
            outdated = {name for name in names if not self._is_current(name, standing.get(name))}
            for name in outdated:
                self._drop(name)
            choice = choose(needs, self._hashes())
            if not choice.unfit:
                return choice, outdated
            if not outdated:
                raise self._fault(choice, records)
        return None, outdated

    def _is_current(self, name: str, standing: Version | None) -> bool:
        copy = self._copies.get(name)
        if copy is None:
            return standing is None
        return copy.version is not None and copy.version == standing

    def _copy(self, names: Iterable[str]) -> None:
        said = log.bind()  # once: it takes as long as the copy of a small file
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for folder, files in _folders(self._workspace, names):
                numbered = [
                    (folder, name, last, f"{number:06d}", said)
                    for number, (name, last) in enumerate(files, self._made)
                ]
                self._made += len(numbered)
                copies = pool.map(lambda each: self._copied(*each), numbered)
                self._copies.update((copy.name, copy) for copy in copies if copy is not None)

    def _copied(
        self, folder: int, name: str, last: str, number: str, said: FilteringBoundLogger
    ) -> _Copy | None:
        """A copy of a file in an open folder; none of what is no ordinary file."""
        try:
            source = safe_paths.open_file(folder, last)
        except (FileNotFoundError, safe_paths.NotARegularFile):
            return None
        try:
            said.info(f"Copying input file: {name}")
            copied, version = copy_version(source, self._folder, number, self._unwanted)
        finally:
            os.close(source)
        return _Copy(name, number, copied, version)

    def _drop(self, name: str) -> None:
        copy = self._copies.pop(name, None)
        if copy is not None:
            os.unlink(copy.number, dir_fd=self._folder)

    def _hashes(self) -> dict[str, str]:
        return {name: copy.copied.sha256 for name, copy in self._copies.items()}

    def _good(self, choice: Choice) -> dict[str, InputFile]:
        inputs = {}
        for name, source in choice.sources.items():
            copy = self._copies[name]
            if not source.verified:
                log.warning(f"Input file not verified: {name}", filed_by=source.job.job_id)
            inputs[copy.number] = InputFile(
                name=name,
                job_id=source.job.job_id,
                action=source.job.action,
                size=copy.copied.size,
                sha256=copy.copied.sha256,
                level=source.file.level,
                verified=source.verified,
            )
        for place, job in enumerate(choice.jobs):
            if job.job_id != self._definition.input_job_ids[place]:
                log.info(f"Inputs made by {job.action} are those of a later job", job=job.job_id)
        return inputs

    def _fault(self, choice: Choice, records: InputRecords) -> PermanentFault:
        hashes = self._hashes()
        replaced = [each for each in choice.unfit if each.name in hashes]
        if not replaced:
            return PermanentFault(
                Fault.INPUT_MISSING,
                f"The file {choice.unfit[0].name} doesn't exist in workspace "
                f"{self._definition.workspace} as requested for job {self._definition.id}",
            )
        filers = records.filers({each.name: hashes[each.name] for each in replaced})
        files = []
        for each in replaced:
            job = choice.jobs[each.need]
            files.append(
                ReplacedInput(
                    name=each.name,
                    job_id=job.job_id,
                    action=job.action,
                    sha256=job.files[each.name].sha256,
                    found_sha256=hashes[each.name],
                    found=filers.get(each.name),
                )
            )
        return InputsReplaced(replaced[0].need, files)


@contextmanager
def _workspace(storage: Storage, definition: JobDefinition) -> Iterator[int | None]:
    """The workspace of a job, open; ``None`` if nothing was ever filed there."""
    with ExitStack() as opened:
        workspace = None
        with suppress(FileNotFoundError):
            path = storage.high(definition.workspace)
            workspace = opened.enter_context(safe_paths.directory(path))
        yield workspace


def _versions(workspace: int | None, names: Iterable[str]) -> dict[str, Version]:
    """Those of the ordinary files among the names."""
    versions = {}
    for folder, files in _folders(workspace, names):
        for name, last in files:
            with suppress(FileNotFoundError):
                info = os.stat(last, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISREG(info.st_mode):
                    versions[name] = Version.of(info)
    return versions


def _folders(
    workspace: int | None, names: Iterable[str]
) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """Each folder, open, with the names of its files and their last parts.

    Without those that have no folder, or are no names beneath one.
    """
    if workspace is None:
        return
    parted = []
    for name in names:
        with suppress(safe_paths.UnsafeName):
            *folders, last = safe_paths.parts_of(name)
            parted.append((folders, name, last))
    for folders, files in groupby(sorted(parted), key=itemgetter(0)):
        with ExitStack() as opened:
            try:
                folder = opened.enter_context(safe_paths.open_directory(workspace, folders))
            except (FileNotFoundError, NotADirectoryError):
                continue
            yield folder, [(name, last) for _, name, last in files]
