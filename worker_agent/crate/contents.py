"""What goes into a crate: which runs, which jobs, and of which files more than a hash. Pure.

For reviewers only what level 4 shows is whole and has a name; of everything else the crate has hash
and size. A file is only whole if the manifest still has it as the one that its job filed.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from rap.egress import Stage
from rap.models import PrivacyLevel
from worker_agent.workspace.provenance import InputFile, OutputFile, ProvenanceRecord


class Audience(StrEnum):
    """For whom a crate is made."""

    REVIEWERS = "level4"
    """It has what level 4 shows, and may be handed on once they release it."""
    INSIDE = "all"
    """It has everything, and must not leave the backend."""


class Stays(StrEnum):
    """Why a file is in a crate by its hash and size alone."""

    SENSITIVE = "sensitive"
    EXCLUDED = "excluded"
    """The gate kept it from level 4."""
    REPLACED = "replaced"
    """A later job filed one of its name, or the manifest does not have it any more."""
    CHANGED = "changed"
    """What lies in its place are not the bytes that its job filed."""
    GONE = "gone"
    """Nothing lies in its place."""
    ELSEWHERE = "elsewhere"
    """A job filed it that is no part of the crate."""


class Key(NamedTuple):
    """Names a file: those of one name that two jobs filed are two files."""

    job_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Part:
    """A file that the crate tells of."""

    key: Key
    size: int
    sha256: str
    level: PrivacyLevel | None
    excluded: bool = False
    reason: str | None = None
    """The gate's, in short."""
    stays: Stays | None = None
    """``None``: the crate has it whole."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job of the crate, with its files in their order."""

    record: ProvenanceRecord
    metrics: Mapping[str, float]
    inputs: tuple[Key, ...]
    outputs: tuple[Key, ...]

    @property
    def started_at(self) -> float:
        """When its program began, else when it was asked for; seconds since the epoch."""
        return self.record.stages.get(Stage.EXECUTING, float(self.record.created_at))

    @property
    def ended_at(self) -> float:
        """When its outputs were filed."""
        return self.record.filed_at_ns / 1e9


@dataclass(frozen=True, slots=True)
class Run:
    """A RAP: its jobs that filed outputs, each after those that it needs."""

    rap_id: str
    jobs: tuple[Job, ...]
    succeeded: bool

    @property
    def first(self) -> ProvenanceRecord:
        """What all jobs of a RAP have in common is in each one's record."""
        return self.jobs[0].record

    @property
    def results(self) -> tuple[Key, ...]:
        """What its jobs filed."""
        return tuple(key for job in self.jobs for key in job.outputs)

    @property
    def objects(self) -> tuple[Key, ...]:
        """What its jobs read of others' files."""
        own = {job.record.job_id for job in self.jobs}
        read = (key for job in self.jobs for key in job.inputs if key.job_id not in own)
        return tuple(dict.fromkeys(read))


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a crate tells."""

    audience: Audience
    workspace: str
    runs: tuple[Run, ...]
    """Oldest first; there is at least one."""
    parts: Mapping[Key, Part]

    @property
    def latest(self) -> Run:
        """The run that the crate is about in the first place."""
        return self.runs[-1]

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Of all runs."""
        return tuple(job for run in self.runs for job in run.jobs)

    @property
    def whole(self) -> tuple[Part, ...]:
        """The files that the crate has."""
        return tuple(part for part in self.parts.values() if part.stays is None)


@dataclass(frozen=True, slots=True)
class Found:
    """What is on record, before anything is decided about it."""

    workspace: str
    records: Sequence[ProvenanceRecord]
    manifest: Mapping[str, Mapping[str, Any]]
    """Its entries, by file."""
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By job."""
    failed_raps: Collection[str] = ()
    """Those with a job that ended without outputs."""
    without_record: Sequence[str] = ()
    """Jobs that filed outputs and have no record of provenance: an earlier version's."""


def decide(found: Found, audience: Audience) -> Contents:
    """What a crate for this audience has of what is on record."""
    parts: dict[Key, Part] = {}
    runs: dict[str, list[Job]] = {}
    for record in in_order(found.records):
        outputs = [_output(record, each, found.manifest, audience) for each in record.outputs]
        parts |= {part.key: part for part in outputs}
        job = Job(
            record=record,
            metrics=found.metrics.get(record.job_id, {}),
            inputs=tuple(dict.fromkeys(Key(each.job_id, each.name) for each in record.inputs)),
            outputs=tuple(part.key for part in outputs),
        )
        runs.setdefault(record.rap_id, []).append(job)
    for record in found.records:
        for each in record.inputs:
            parts.setdefault(Key(each.job_id, each.name), _input(each))
    return Contents(
        audience=audience,
        workspace=found.workspace,
        runs=tuple(
            Run(
                rap_id=rap_id,
                jobs=tuple(jobs),
                succeeded=rap_id not in found.failed_raps
                and all(job.record.succeeded for job in jobs),
            )
            for rap_id, jobs in runs.items()
        ),
        parts=parts,
    )


def in_order(records: Iterable[ProvenanceRecord]) -> list[ProvenanceRecord]:
    """Each after those whose files it read, which were filed before it began."""
    return sorted(records, key=lambda each: (each.filed_at_ns, each.job_id))


def standing(
    records: Mapping[str, ProvenanceRecord], manifest: Mapping[str, Mapping[str, Any]]
) -> list[ProvenanceRecord]:
    """The jobs whose files make up a workspace now, and those whose files these read, and so on."""
    waiting = [str(entry.get("job_id")) for entry in manifest.values()]
    wanted: dict[str, ProvenanceRecord] = {}
    while waiting:
        job_id = waiting.pop()
        if job_id in wanted or job_id not in records:
            continue
        wanted[job_id] = records[job_id]
        waiting += [each.job_id for each in records[job_id].inputs]
    return list(wanted.values())


def why_it_stays(
    job_id: str,
    output: OutputFile,
    manifest: Mapping[str, Mapping[str, Any]],
    audience: Audience,
) -> Stays | None:
    """Why an output is not whole in a crate, by record and manifest; ``None``: it is."""
    entry = manifest.get(output.name, {})
    for_reviewers = audience is Audience.REVIEWERS
    if for_reviewers and output.level is not PrivacyLevel.MODERATELY_SENSITIVE:
        return Stays.SENSITIVE
    if for_reviewers and output.excluded:
        return Stays.EXCLUDED
    if (entry.get("job_id"), entry.get("content_hash")) != (job_id, output.sha256):
        return Stays.REPLACED
    shown = entry.get("level") == PrivacyLevel.MODERATELY_SENSITIVE and not entry.get("excluded")
    return Stays.EXCLUDED if for_reviewers and not shown else None


def _output(
    record: ProvenanceRecord,
    output: OutputFile,
    manifest: Mapping[str, Mapping[str, Any]],
    audience: Audience,
) -> Part:
    return Part(
        key=Key(record.job_id, output.name),
        size=output.size,
        sha256=output.sha256,
        level=output.level,
        excluded=output.excluded,
        reason=output.reason,
        stays=why_it_stays(record.job_id, output, manifest, audience),
    )


def _input(each: InputFile) -> Part:
    return Part(
        key=Key(each.job_id, each.name),
        size=each.size,
        sha256=each.sha256,
        level=each.level,
        stays=Stays.ELSEWHERE,
    )
