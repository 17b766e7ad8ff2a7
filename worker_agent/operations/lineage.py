"""Where files come from: records of jobs, put together into a tree. Pure.

A file was made by a job, from files that other jobs made, back to the jobs that read the
database. Beside what is on record stands what the files are now: one that was changed by hand is
told from one that another job has made again.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from rap.models import Model, PrivacyLevel
from worker_agent.workspace.provenance import OutputFile, ProvenanceRecord

_DEFINES = frozenset({"generate-dataset", "generate-measures"})
"""Commands of ehrQL whose first file says what is read from the database."""


class Recording(StrEnum):
    """How much is known about a job."""

    RECORDED = "recorded"
    EARLIER = "earlier"
    """It ended before there were records of provenance: its inputs are not on record."""
    MISSING = "missing"
    """Nothing but its id."""


class Standing(StrEnum):
    """How the file that lies in the workspace compares with what is on record of it."""

    AS_FILED = "as_filed"
    CHANGED = "changed"
    """No job is on record that filed these bytes: it was changed by hand."""
    MADE_AGAIN = "made_again"
    """Another job filed the bytes that are there now."""
    GONE = "gone"
    UNVERIFIED = "unverified"
    """No hash is on record."""
    UNRECORDED = "unrecorded"
    """No job is on record that filed it."""


class Filed(NamedTuple):
    """A file that a job filed, as far as that is on record."""

    sha256: str | None
    size: int | None = None
    level: PrivacyLevel | None = None
    excluded: bool = False
    reason: str | None = None
    untouched: bool = False
    made_by: str | None = None


class JobFacts(NamedTuple):
    """All that is on record of a job."""

    job_id: str
    action: str
    filed_at_ns: int
    outputs: Mapping[str, Filed]
    record: ProvenanceRecord | None = None
    """``None``: it ended before there were such records."""


class JobNode(Model):
    """A job, and what it read."""

    job_id: str
    action: str = ""
    recording: Recording
    is_shown_elsewhere: bool = False
    """The tree has it with its inputs already."""
    succeeded: bool | None = None
    filed_at_ns: int | None = None
    rap_id: str = ""
    user: str | None = None
    project: str = ""
    orgs: tuple[str, ...] = ()
    repo: str = ""
    branch: str = ""
    commit: str = ""
    action_repo: str = ""
    """Of a reusable action, whose code ran in place of the study's."""
    action_commit: str = ""
    image: str = ""
    image_digest: str | None = None
    image_id: str | None = None
    args: tuple[str, ...] = ()
    database_name: str | None = None
    permissions: tuple[str, ...] = ()
    dataset_definition: str | None = None
    """The file at the commit that says what is read from the database, as the command names it."""
    inputs: tuple["FileNode", ...] = ()
    outputs: tuple["FileNode", ...] = ()
    """Only of the job that was asked about."""


class FileNode(Model):
    """A file, and the job that made it."""

    name: str
    standing: Standing
    sha256: str | None = None
    """As on record, hexadecimal."""
    sha256_now: str | None = None
    """Of what lies in the workspace now; ``None``: nothing, or nobody needed to know."""
    size: int | None = None
    level: PrivacyLevel | None = None
    excluded: bool = False
    reason: str | None = None
    """Why level 4 does not have it."""
    is_untouched: bool = False
    """The job that filed it had not made it."""
    is_from_repository: bool = False
    """It was committed to the study's repository, and no job made it."""
    made_again_by: str | None = None
    job: JobNode | None = None
    """Who made it; ``None``: that is not on record, or it stands above."""


def of_record(record: ProvenanceRecord) -> JobFacts:
    """The facts of a job that has a record of provenance."""
    return JobFacts(
        job_id=record.job_id,
        action=record.action,
        filed_at_ns=record.filed_at_ns,
        outputs={file.name: _filed(file) for file in record.outputs},
        record=record,
    )


def _filed(file: OutputFile) -> Filed:
    return Filed(
        sha256=file.sha256,
        size=file.size,
        level=file.level,
        excluded=file.excluded,
        reason=file.reason,
        untouched=file.untouched,
        made_by=file.made_by,
    )


class Lineage:
    """The records of one workspace.

    ``now`` tells the hash of a file that lies in it, ``None`` if there is none.
    """

    def __init__(self, jobs: Iterable[JobFacts], now: Callable[[str], str | None]) -> None:
        self._jobs = {job.job_id: job for job in jobs}
        self._now = now
        self._shown: set[str] = set()

    def of_file(self, name: str) -> FileNode | None:
        """The tree of a file; ``None`` if it is neither there nor on record."""
        self._shown.clear()
        now = self._now(name)
        job = self._filer(name, now)
        if job is not None:
            return self._output(name, job, with_job=True)
        if now is None:
            return None
        return FileNode(name=name, standing=Standing.UNRECORDED, sha256_now=now)

    def of_job(self, job_id: str) -> JobNode:
        """The tree of a job, with all that it filed."""
        self._shown.clear()
        job = self._jobs.get(job_id)
        node = self._job(job_id, "")
        if job is None:
            return node
        outputs = tuple(self._output(name, job, with_job=False) for name in sorted(job.outputs))
        return node.model_copy(update={"outputs": outputs})

    def _filer(self, name: str, now: str | None) -> JobFacts | None:
        """Whose file it is: the last job that filed these bytes, else the last that filed any."""
        filers = [job for job in self._jobs.values() if name in job.outputs]
        same = [job for job in filers if now is not None and job.outputs[name].sha256 == now]
        return max(same or filers, key=lambda job: (job.filed_at_ns, job.job_id), default=None)

    def _output(self, name: str, job: JobFacts, *, with_job: bool) -> FileNode:
        file = job.outputs[name]
        is_anothers = file.untouched and file.made_by is not None
        shown: JobNode | None = None
        if is_anothers and file.made_by is not None:
            shown = self._job(file.made_by, "")
        elif with_job and not file.untouched:
            shown = self._job(job.job_id, job.action)
        return self._compared(
            FileNode(
                name=name,
                standing=Standing.UNVERIFIED,
                sha256=file.sha256,
                size=file.size,
                level=file.level,
                excluded=file.excluded,
                reason=file.reason,
                is_untouched=file.untouched,
                is_from_repository=file.untouched and not is_anothers,
                job=shown,
            )
        )

    def _compared(self, file: FileNode) -> FileNode:
        """With what lies in the workspace."""
        now = self._now(file.name)
        again = None
        if now is None:
            standing = Standing.GONE
        elif file.sha256 is None:
            standing = Standing.UNVERIFIED
        elif now == file.sha256:
            standing = Standing.AS_FILED
        else:
            filer = self._filer(file.name, now)
            is_on_record = filer is not None and filer.outputs[file.name].sha256 == now
            standing = Standing.MADE_AGAIN if is_on_record else Standing.CHANGED
            again = filer.job_id if filer is not None and is_on_record else None
        return file.model_copy(
            update={"standing": standing, "sha256_now": now, "made_again_by": again}
        )

    def _job(self, job_id: str, action: str) -> JobNode:
        job = self._jobs.get(job_id)
        if job is None:
            return JobNode(job_id=job_id, action=action, recording=Recording.MISSING)
        record = job.record
        if record is None:
            return JobNode(
                job_id=job_id,
                action=job.action,
                recording=Recording.EARLIER,
                filed_at_ns=job.filed_at_ns or None,
            )
        is_repeated = job_id in self._shown
        self._shown.add(job_id)
        return JobNode(
            job_id=job_id,
            action=job.action,
            recording=Recording.RECORDED,
            is_shown_elsewhere=is_repeated,
            filed_at_ns=job.filed_at_ns,
            dataset_definition=dataset_definition(record.args),
            inputs=() if is_repeated else self._inputs(record),
            **record.model_dump(include=_COPIED),
        )

    def _inputs(self, record: ProvenanceRecord) -> tuple[FileNode, ...]:
        files = []
        for file in record.inputs:
            node = FileNode(
                name=file.name,
                standing=Standing.UNVERIFIED,
                sha256=file.sha256,
                size=file.size,
                level=file.level,
                job=self._job(file.job_id, file.action),
            )
            compared = self._compared(node)
            if not file.verified:
                compared = compared.model_copy(update={"standing": Standing.UNVERIFIED})
            files.append(compared)
        return tuple(files)


def is_doubtful(node: FileNode | JobNode) -> bool:
    """Whether a file in a tree is not what any job on record filed."""
    if isinstance(node, JobNode):
        return any(is_doubtful(file) for file in (*node.inputs, *node.outputs))
    if node.standing in (Standing.CHANGED, Standing.UNRECORDED):
        return True
    return node.job is not None and is_doubtful(node.job)


_COPIED = JobNode.model_fields.keys() & ProvenanceRecord.model_fields.keys() - {
    *("job_id", "action", "filed_at_ns", "inputs", "outputs"),
}


def dataset_definition(args: tuple[str, ...]) -> str | None:
    """The file of an ehrQL command that says what is read from the database, if it is one."""
    if not args or args[0] not in _DEFINES:
        return None
    return next((word for word in args[1:] if word.endswith(".py")), None)
