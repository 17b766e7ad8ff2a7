"""What is on record of a RAP or a workspace: records of provenance, manifest, what jobs used."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rap.errors import JobFault, RapError
from rap.ids import job_of_container
from worker_agent.crate.contents import Found, standing
from worker_agent.workspace import manifest, metadata, provenance
from worker_agent.workspace.metadata import JobRecord
from worker_agent.workspace.provenance import ProvenanceRecord
from worker_agent.workspace.storage import METADATA_FILE, STAGING, Storage


def find(storage: Storage, what: str) -> Found:
    """What is on record of a RAP, else of a workspace, by its id or name.

    RapError if neither is known, or none of its jobs has a record of provenance.
    """
    in_workspaces = {each: _records(storage, each) for each in _workspaces(storage)}
    for workspace, records in in_workspaces.items():
        chosen = [each for each in records.values() if each.rap_id == what]
        if chosen:
            return _of_rap(storage, workspace, what, chosen)
    if what in in_workspaces:
        return _of_workspace(storage, what, in_workspaces[what])
    if any(record.job_definition_rap_id == what for _, record in _finished(storage)):
        raise _nothing(f"RAP {what}")
    raise RapError(f"Neither a RAP nor a workspace of this backend is called {what}.")


def _of_rap(
    storage: Storage, workspace: str, rap_id: str, records: list[ProvenanceRecord]
) -> Found:
    have = {each.job_id for each in records}
    others = [
        (job_id, record)
        for job_id, record in _finished(storage)
        if record.job_definition_rap_id == rap_id and job_id not in have
    ]
    return Found(
        workspace=workspace,
        records=records,
        manifest=_entries(storage, workspace),
        metrics=_metrics(storage, have),
        failed_raps={rap_id} if any(not each.has_outputs_on_record for _, each in others) else (),
        without_record=[job_id for job_id, each in others if each.has_outputs_on_record],
    )


def _of_workspace(
    storage: Storage, workspace: str, records: Mapping[str, ProvenanceRecord]
) -> Found:
    entries = _entries(storage, workspace)
    chosen = standing(records, entries)
    if not chosen:
        raise _nothing(f"workspace {workspace}")
    named = {str(each.get("job_id")) for each in entries.values()}
    raps = {each.rap_id for each in chosen}
    return Found(
        workspace=workspace,
        records=chosen,
        manifest=entries,
        metrics=_metrics(storage, [each.job_id for each in chosen]),
        failed_raps={
            record.job_definition_rap_id
            for _, record in _finished(storage)
            if record.job_definition_rap_id in raps and not record.has_outputs_on_record
        },
        without_record=sorted(named - records.keys()),
    )


def _nothing(what: str) -> RapError:
    return RapError(
        f"No job of {what} has a record of provenance: they ran before there were any, or filed "
        "no outputs. A crate can be made of jobs that ran since."
    )


def _workspaces(storage: Storage) -> list[str]:
    try:
        found = [path.name for path in storage.high_workspaces.iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []
    return sorted(name for name in found if name != STAGING and not name.startswith("."))


def _records(storage: Storage, workspace: str) -> dict[str, ProvenanceRecord]:
    return {each.job_id: each for each in provenance.records_of(storage, workspace)}


def _entries(storage: Storage, workspace: str) -> dict[str, dict[str, Any]]:
    try:
        document = manifest.read(storage, workspace)
    except JobFault as fault:
        raise RapError(f"The manifest of {workspace} cannot be read: {fault}") from fault
    return {name: each for name, each in document["outputs"].items() if isinstance(each, dict)}


def _finished(storage: Storage) -> Iterable[tuple[str, JobRecord]]:
    """The records of attempts that have ended, of all jobs; damaged ones are left out."""
    for path in sorted(storage.logs.glob(f"*/*/{METADATA_FILE}")):
        job_id, record = job_of_container(path.parent.name), _read(path)
        if job_id and record is not None:
            yield job_id, record


def _metrics(storage: Storage, job_ids: Iterable[str]) -> dict[str, dict[str, float]]:
    """What these jobs used of the machine, for those of which it is known."""
    places = storage.newest_of_jobs(METADATA_FILE)
    found = {job_id: _read(places[job_id]) for job_id in job_ids if job_id in places}
    return {
        job_id: {
            name: float(value)
            for name, value in record.job_metrics.items()
            if isinstance(value, int | float)
        }
        for job_id, record in found.items()
        if record is not None
    }


def _read(path: Path) -> JobRecord | None:
    try:
        return metadata.read(path)
    except (OSError, ValueError):
        return None
