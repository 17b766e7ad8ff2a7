"""The Provenance Run Crate: tools, steps, and each job with what it read and wrote. Pure.

Profile 0.5 (https://w3id.org/ro/wfrun/provenance/0.5), with RO-Crate 1.1. A tool is an action of
the project file that has a job in the crate.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from worker_agent.crate.contents import Audience, Contents, Job, Run
from worker_agent.crate.entities import (
    VERSION,
    Entity,
    Graph,
    Names,
    database,
    database_id,
    entity,
    files,
    graph,
    moment,
    people,
    person_id,
    project_file,
    ref,
    refs,
    repository_name,
    status,
)
from worker_agent.crate.workflow_crate import file_name, workflow
from worker_agent.workspace.provenance import ProvenanceRecord

ENGINE = "#opensafely-rap"
_WFRUN = "https://w3id.org/ro/terms/workflow-run#"
TERMS = {
    name: f"{_WFRUN}{name}"
    for name in ("ContainerImage", "containerImage", "registry", "tag", "sha256", "resourceUsage")
}
"""Of the profile and not of RO-Crate 1.1; written out, to be read without a network."""
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
_FIGURES = {
    "cpu_mean": ("Processor, mean", "% of one core", "PERCENT"),
    "cpu_peak": ("Processor, peak", "% of one core", "PERCENT"),
    "mem_mb_mean": ("Memory, mean", "MiB", "MebiBYTE"),
    "mem_mb_peak": ("Memory, peak", "MiB", "MebiBYTE"),
}
"""Name, unit, and the unit's name in QUDT, by the key of the metrics of a job."""


def root(contents: Contents, names: Names, *, written_at: float) -> dict[str, Any]:
    """The properties of the root data entity."""
    workflows = [file_name(run.first) for run in reversed(contents.runs)]
    actions = [*(names.run(run) for run in contents.runs), *map(_job_id, contents.jobs)]
    return {
        "name": f"Run of {repository_name(contents.latest.first)}, job by job",
        "description": "Tools, steps, and each job with what it read and wrote.",
        "conformsTo": refs(PROFILES),
        "datePublished": moment(written_at),
        "license": "See the conditions of the Five Safes crate that this is a part of.",
        "mainEntity": ref(workflows[0]),
        "hasPart": refs([*workflows, *(names.of(part) for part in contents.whole)]),
        "mentions": refs(
            [
                *actions,
                *(_organize_id(names, run) for run in contents.runs),
                *(names.of(part) for part in contents.parts.values() if part.stays),
            ]
        ),
    }


def entities(contents: Contents, names: Names) -> Graph:
    """All other entities of the crate."""
    records = [job.record for job in contents.jobs]
    return people(records) | graph(
        *(
            entity(each, "CreativeWork", name=name, version=each.rpartition("/")[2])
            for each, name in PROFILES.items()
        ),
        entity(
            ENGINE,
            "SoftwareApplication",
            name="OpenSAFELY RAP",
            url="https://www.opensafely.org/",
            version=VERSION,
        ),
        *_workflows(contents),
        *(_tool(contents, job) for job in contents.jobs),
        *(each for run in contents.runs for each in _run(contents, names, run)),
        *files(contents, names),
    )


def _workflows(contents: Contents) -> Iterator[Entity]:
    """Each project file, with the actions of it that have a job, in the order in which they ran."""
    by_workflow: dict[str, list[Job]] = {}
    for job in contents.jobs:
        by_workflow.setdefault(file_name(job.record), []).append(job)
    for jobs in by_workflow.values():
        yield from workflow(
            jobs[0].record,
            kinds=["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
            hasPart=refs(map(_tool_id, jobs)),
            step=refs(map(_step_id, jobs)),
        )
        tools = {_step_id(job): job for job in jobs}
        for position, (step, job) in enumerate(tools.items(), start=1):
            yield entity(
                step,
                "HowToStep",
                name=job.record.action,
                position=str(position),
                workExample=ref(_tool_id(job)),
            )


def _of_action(prefix: str, job: Job) -> str:
    """An identifier for an action of a project file at a commit."""
    return f"#{prefix}-{quote(job.record.action, safe='')}-{job.record.commit[:12]}"


def _tool_id(job: Job) -> str:
    return _of_action("action", job)


def _step_id(job: Job) -> str:
    return _of_action("step", job)


def _job_id(job: Job) -> str:
    return f"#job-{quote(job.record.job_id, safe='')}"


def _control_id(job: Job) -> str:
    return f"#control-{quote(job.record.job_id, safe='')}"


def _organize_id(names: Names, run: Run) -> str:
    return names.run(run).replace("#run-", "#organize-")


def _tool(contents: Contents, job: Job) -> Entity:
    """An action; a command and patterns name files, so they are for people inside only."""
    record = job.record
    inside = contents.audience is Audience.INSIDE
    patterns = (f"{pattern} ({level})" for pattern, level in record.patterns.items())
    is_reusable = record.action_repo not in ("", record.repo)
    description = f"{' '.join(record.args)}; outputs: {', '.join(patterns)}" if inside else None
    return entity(
        _tool_id(job),
        "SoftwareApplication",
        name=f"{record.action} of {repository_name(record)}",
        description=description,
        version=record.action_commit if is_reusable else record.commit,
        url=record.action_repo if is_reusable else project_file(record),
    )


def _run(contents: Contents, names: Names, run: Run) -> Iterator[Entity]:
    first = run.first
    started = min(job.started_at for job in run.jobs)
    ended = max(job.ended_at for job in run.jobs)
    yield entity(
        names.run(run),
        "CreateAction",
        name=f"RAP {run.rap_id}",
        identifier=run.rap_id,
        instrument=ref(file_name(first)),
        agent=ref(person_id(first)),
        actionStatus=status(succeeded=run.succeeded),
        startTime=moment(started),
        endTime=moment(ended),
        object=refs(names.of(contents.parts[key]) for key in run.objects),
        result=refs(names.of(contents.parts[key]) for key in run.results),
    )
    yield entity(
        _organize_id(names, run),
        "OrganizeAction",
        name=f"OpenSAFELY RAP carries out RAP {run.rap_id}",
        instrument=ref(ENGINE),
        agent=ref(person_id(first)),
        object=refs(map(_control_id, run.jobs)),
        result=ref(names.run(run)),
        startTime=moment(started),
        endTime=moment(ended),
    )
    for job in run.jobs:
        yield from _job(contents, names, job)


def _job(contents: Contents, names: Names, job: Job) -> Iterator[Entity]:
    """A job, its place in the order of the run, its image, and what it used."""
    record = job.record
    reads = [names.of(contents.parts[key]) for key in job.inputs]
    figures = list(_figures(job))
    yield entity(
        _job_id(job),
        "CreateAction",
        name=f"Job {record.job_id}: {record.action}",
        identifier=record.job_id,
        instrument=ref(_tool_id(job)),
        agent=ref(person_id(record)),
        actionStatus=status(succeeded=record.succeeded),
        error=None if record.succeeded else _error(record),
        startTime=moment(job.started_at),
        endTime=moment(job.ended_at),
        object=refs([database_id(record), *reads] if record.database_name else reads),
        result=refs(names.of(contents.parts[key]) for key in job.outputs),
        containerImage=ref(_image_id(record)) if record.image else None,
        resourceUsage=refs(each["@id"] for each in figures),
    )
    yield entity(
        _control_id(job),
        "ControlAction",
        name=f"Step {record.action}",
        instrument=ref(_step_id(job)),
        object=ref(_job_id(job)),
        actionStatus=status(succeeded=record.succeeded),
    )
    yield from figures
    yield from database(job)
    if record.image:
        yield _image(record)


def _error(record: ProvenanceRecord) -> str:
    if record.exit_code:
        return f"The program ended with exit code {record.exit_code}."
    return "Not all outputs that the action declares were made."


def _figures(job: Job) -> Iterator[Entity]:
    """What a job used of its host, where it was measured."""
    for key, (name, unit, code) in _FIGURES.items():
        if job.metrics.get(key):
            yield entity(
                f"{_job_id(job)}-{key}",
                "PropertyValue",
                name=name,
                propertyID=f"urn:opensafely-rap:{key}",
                value=f"{job.metrics[key]:.1f}",
                unitText=unit,
                unitCode=ref(f"http://qudt.org/vocab/unit/{code}"),
            )


def _image_id(record: ProvenanceRecord) -> str:
    name = quote(record.image, safe="")
    digest = (record.image_digest or record.image_id or "").removeprefix("sha256:")
    return f"#image-{name}-{digest[:12]}" if digest else f"#image-{name}"


def _image(record: ProvenanceRecord) -> Entity:
    """An image by its digest, which the registry gives; else by the id of what the engine ran."""
    registry, _, rest = record.image.partition("/")
    name, _, tag = rest.rpartition(":")
    return entity(
        _image_id(record),
        "ContainerImage",
        additionalType=ref(f"{_WFRUN}DockerImage"),
        registry=registry,
        name=name or tag,
        tag=tag if name else None,
        sha256=(record.image_digest or "").removeprefix("sha256:"),
        identifier=record.image_id,
    )
