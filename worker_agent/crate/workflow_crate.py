"""The workflow crate of a study: the actions that ran, by the commit of their project file. Pure.

Profile 1.0 (https://w3id.org/workflowhub/workflow-ro-crate/1.0), with RO-Crate 1.1. Validators want
the workflow to be a file of the crate. It is not the project file, whose commands and patterns name
files that stay in the backend: it has the actions and their needs, and says where that is.
"""

import json
from collections.abc import Mapping
from typing import Any

from worker_agent.crate.contents import Audience, Contents, Job
from worker_agent.crate.entities import (
    Entity,
    Graph,
    entity,
    graph,
    moment,
    project_file,
    ref,
    repository_name,
    repository_url,
)
from worker_agent.workspace.provenance import ProvenanceRecord

PROFILE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
LANGUAGE = "#project-pipeline"


def file_name(record: ProvenanceRecord) -> str:
    """Of the file with the actions; it has the same name in the crate of the run."""
    return f"pipeline-{record.commit[:12]}.yaml"


def text(contents: Contents, commit: str) -> str:
    """The actions of a commit that have a job in the crate, in their order; YAML."""
    jobs = {job.record.action: job for job in contents.jobs if job.record.commit == commit}
    record = next(iter(jobs.values())).record
    makers = {job.record.job_id: job.record.action for job in contents.jobs}
    makers |= {each.job_id: each.action for job in jobs.values() for each in job.record.inputs}
    lines = [
        "# The actions of project.yaml at this commit that have a job here, and what each needs.",
        f"repository: {json.dumps(repository_url(record) or repository_name(record))}",
        f"commit: {json.dumps(record.commit)}",
        "actions:",
    ]
    for action, job in jobs.items():
        lines += [f"  {json.dumps(action)}:", *_described(job, makers, contents.audience)]
    return "\n".join(lines) + "\n"


def _described(job: Job, makers: Mapping[str, str], audience: Audience) -> list[str]:
    record = job.record
    needs = [makers[each] for each in record.needs if each in makers]
    lines = [f"    image: {json.dumps(record.image)}", f"    needs: {json.dumps(needs)}"]
    if audience is Audience.INSIDE:
        lines.append(f"    command: {json.dumps(list(record.args))}")
        lines.append(f"    outputs: {json.dumps(dict(record.patterns))}")
    return lines


def root(record: ProvenanceRecord, *, written_at: float) -> dict[str, Any]:
    """The properties of the root data entity."""
    return {
        "name": f"Study {repository_name(record)} at commit {record.commit[:12]}",
        "description": "The actions of the study that ran, by the commit of its project file.",
        "conformsTo": ref(PROFILE),
        "datePublished": moment(written_at),
        "license": "See the study's repository.",
        "mainEntity": ref(file_name(record)),
        "hasPart": [ref(file_name(record))],
    }


def entities(record: ProvenanceRecord) -> Graph:
    """All other entities of the crate."""
    return graph(
        *workflow(record, kinds=["File", "SoftwareSourceCode", "ComputationalWorkflow"]),
        entity(PROFILE, "CreativeWork", name="Workflow RO-Crate", version="1.0"),
    )


def workflow(
    record: ProvenanceRecord,
    *,
    kinds: list[str],
    **more: Any,  # noqa: ANN401 - properties of any kind
) -> tuple[Entity, Entity]:
    """The file with the actions, and its language: none that is registered, so one of our own."""
    docs = "https://docs.opensafely.org/actions-pipelines/"
    file = entity(
        file_name(record),
        kinds,
        name=f"Actions of {repository_name(record)} that ran",
        description=f"Of project.yaml at commit {record.commit}",
        programmingLanguage=ref(LANGUAGE),
        encodingFormat="application/yaml",
        codeRepository=repository_url(record),
        isBasedOn=project_file(record),
        version=record.commit,
        **more,
    )
    language = entity(
        LANGUAGE,
        "ComputerLanguage",
        name="OpenSAFELY project pipeline",
        alternateName="project.yaml",
        version="4",
        identifier=ref(docs),
        url=ref(docs),
    )
    return file, language
