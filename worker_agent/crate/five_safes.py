"""The Five Safes crate: who asked, for which project, what ran, and what was checked. Pure.

Profile 0.4 (https://w3id.org/5s-crate/0.4), with RO-Crate 1.2. The run itself is told by the
Provenance Run Crate within (:mod:`worker_agent.crate.run_crate`), the study by a workflow crate.
"""

from collections.abc import Iterator
from typing import Any

from worker_agent.crate.checks import checkers, checks
from worker_agent.crate.contents import Audience, Contents, Run
from worker_agent.crate.entities import (
    RUN_FOLDER,
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
    project_id,
    ref,
    refs,
    repository_name,
    repository_url,
    status,
    tre,
    tre_id,
)
from worker_agent.workspace.provenance import ProvenanceRecord

PROFILE = "https://w3id.org/5s-crate/0.4"
WORKFLOW_PROFILE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
RUN_PROFILE = "https://w3id.org/ro/wfrun/provenance/0.5"
_RO_CRATE = "https://w3id.org/ro/crate"
LICENCE = "#conditions"


def workflow_folder(record: ProvenanceRecord) -> str:
    """Where the workflow crate of a study at a commit is, within the payload."""
    return f"workflow/{record.commit[:12]}/"


def root(contents: Contents, names: Names, *, written_at: float) -> dict[str, Any]:
    """The properties of the root data entity."""
    first = contents.latest.first
    parts = [names.of(part) for part in contents.parts.values()]
    folders = [workflow_folder(run.first) for run in contents.runs]
    checked = [each["@id"] for each in checks(contents, names, written_at=written_at)]
    return {
        "name": _title(contents),
        "description": (
            "What was asked for, what ran, what it read and wrote, and what was checked. "
            + _SCOPE[contents.audience]
        ),
        "conformsTo": ref(PROFILE),
        "datePublished": moment(written_at),
        "license": ref(LICENCE),
        "publisher": ref(tre_id(first)),
        "sourceOrganization": refs(project_id(run.first) for run in reversed(contents.runs)),
        "mainEntity": ref(workflow_folder(first)),
        "hasPart": refs([*folders, RUN_FOLDER, *parts]),
        "mentions": refs([*(names.run(run) for run in contents.runs), *checked]),
    }


def entities(contents: Contents, names: Names, *, written_at: float) -> Graph:
    """All other entities of the crate."""
    first = contents.latest.first
    records = [job.record for job in contents.jobs]
    made = people(records) | graph(
        *(tre(record) for record in records),
        entity(PROFILE, "Profile", name="Five Safes RO-Crate profile", version="0.4"),
        entity(WORKFLOW_PROFILE, "Profile", name="Workflow RO-Crate profile", version="1.0"),
        entity(RUN_PROFILE, "Profile", name="Provenance Run Crate profile", version="0.5"),
        entity(
            LICENCE,
            "CreativeWork",
            name=f"Conditions of access of {tre(first)['name']}",
            description=_CONDITIONS[contents.audience],
        ),
        entity(_RO_CRATE, "Profile", name="RO-Crate"),
        *(each for run in contents.runs for each in _workflow(run.first)),
        *_run_crate(),
        *(each for run in contents.runs for each in _run(contents, names, run)),
        *files(contents, names),
    )
    return made | checkers(contents) | graph(*checks(contents, names, written_at=written_at))


_SCOPE = {
    Audience.REVIEWERS: "Files that level 4 shows are whole; of all others there is hash and size.",
    Audience.INSIDE: "It has all files whole, also highly sensitive ones.",
}
_CONDITIONS = {
    Audience.REVIEWERS: "Not released: to be handed on only if the output checkers say so.",
    Audience.INSIDE: "Must not leave the backend: it has highly sensitive files.",
}


def _title(contents: Contents) -> str:
    """Of one RAP, or of a workspace."""
    if len(contents.runs) == 1:
        return f"RAP {contents.latest.rap_id} in workspace {contents.workspace}"
    return f"Workspace {contents.workspace}"


def _workflow(record: ProvenanceRecord) -> Iterator[Entity]:
    folder = workflow_folder(record)
    yield entity(
        folder,
        "Dataset",
        name=f"Study {repository_name(record)} at commit {record.commit[:12]}",
        conformsTo=[ref(WORKFLOW_PROFILE), ref(_RO_CRATE)],
        subjectOf=ref(f"{folder}ro-crate-metadata.json"),
        url=repository_url(record),
        version=record.commit,
    )
    yield _metadata_of(folder)


def _run_crate() -> Iterator[Entity]:
    yield entity(
        RUN_FOLDER,
        "Dataset",
        name="The run in detail: tools, steps, and each job with what it read and wrote",
        conformsTo=[ref(RUN_PROFILE), ref(_RO_CRATE)],
        subjectOf=ref(f"{RUN_FOLDER}ro-crate-metadata.json"),
    )
    yield _metadata_of(RUN_FOLDER)


def _metadata_of(folder: str) -> Entity:
    return entity(
        f"{folder}ro-crate-metadata.json",
        "CreativeWork",
        name=f"Metadata of the crate in {folder}",
        encodingFormat="application/ld+json",
    )


def _run(contents: Contents, names: Names, run: Run) -> Iterator[Entity]:
    first = run.first
    databases = [job.record for job in run.jobs if job.record.database_name is not None]
    yield entity(
        names.run(run),
        "CreateAction",
        name=f"RAP {run.rap_id}",
        identifier=run.rap_id,
        instrument=ref(workflow_folder(first)),
        agent=ref(person_id(first)),
        actionStatus=status(succeeded=run.succeeded),
        startTime=moment(min(job.started_at for job in run.jobs)),
        endTime=moment(max(job.ended_at for job in run.jobs)),
        object=refs(
            [
                *(database_id(record) for record in databases),
                *(names.of(contents.parts[key]) for key in run.objects),
            ]
        ),
        result=refs(names.of(contents.parts[key]) for key in run.results),
    )
    for job in run.jobs:
        yield from database(job)
