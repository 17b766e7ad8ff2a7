"""What the records of a workspace say about the files that a job needs.

A job's own record of provenance says what it filed and whether it succeeded. Jobs that ended before
there were such records have ``metadata.json`` for that, and the manifest for the hashes of those of
their files that stand: an entry there names the job that filed it last.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from rap.egress import Fault
from rap.errors import PermanentFault
from rap.models import JobDefinition, PrivacyLevel
from worker_agent.workspace import manifest, metadata, provenance
from worker_agent.workspace.input_choice import Filed, FiledFile, Need
from worker_agent.workspace.metadata import JobRecord
from worker_agent.workspace.provenance import ProvenanceRecord
from worker_agent.workspace.replaced_inputs import Filer
from worker_agent.workspace.storage import Storage


class InputRecords:
    """The records that matter to one job; whoever has to be certain of them holds the lock."""

    def __init__(self, storage: Storage, definition: JobDefinition) -> None:
        self._storage, self._definition = storage, definition
        self._workspace = definition.workspace
        self._entries: Mapping[str, Any] | None = None
        self._older: dict[str, JobRecord | None] = {}

    def planned(self) -> tuple[Need, ...]:
        """The jobs that were planned to meet the needs, in their order.

        Raises:
            PermanentFault: INPUT_RECORD_MISSING, one of them has no outputs on record, or failed.
            TransientFault: UNEXPECTED, the manifest is damaged.
        """
        return tuple(
            Need(self._planned(job_id, place)[0])
            for place, job_id in enumerate(self._definition.input_job_ids)
        )

    def all(self) -> tuple[Need, ...]:
        """The same, each with the newest later job of its action."""
        planned = [
            self._planned(job_id, place)
            for place, job_id in enumerate(self._definition.input_job_ids)
        ]
        newest: dict[str, tuple[int, Filed]] = {}
        for filed_at, job in self._succeeded({job.action for job, _ in planned if job.action}):
            if job.action not in newest or newest[job.action][0] < filed_at:
                newest[job.action] = (filed_at, job)
        needs = []
        for job, filed_at in planned:
            latest_at, latest = newest.get(job.action, (0, job))
            later = latest_at > filed_at and latest.job_id != job.job_id
            needs.append(Need(job, latest if later else None))
        return tuple(needs)

    def filers(self, found: Mapping[str, str]) -> dict[str, Filer]:
        """Which job filed the files with these hashes, as far as one is on record; the last one."""
        filers: dict[str, tuple[int, Filer]] = {}
        for name, sha256 in found.items():
            entry = self._entry(name)
            if entry.get("content_hash") == sha256 and entry.get("job_id"):
                job_id, action = str(entry["job_id"]), str(entry.get("action") or "")
                filers[name] = (0, Filer(job_id=job_id, action=action, succeeded=None))
        for record in provenance.records_of(self._storage, self._workspace):
            for output in record.outputs:
                known = filers.get(output.name)
                if found.get(output.name) == output.sha256 and (
                    known is None or known[0] < record.filed_at_ns
                ):
                    filer = Filer(
                        job_id=record.job_id, action=record.action, succeeded=record.succeeded
                    )
                    filers[output.name] = (record.filed_at_ns, filer)
        return {name: filer for name, (_, filer) in filers.items()}

    def _planned(self, job_id: str, place: int) -> tuple[Filed, int]:
        needs = self._definition.needs
        record = provenance.load(self._storage, self._workspace, job_id)
        if record is not None and record.succeeded:
            return _filed(record), record.filed_at_ns
        older = self._older_record(job_id) if record is None else None
        if older is None or not _succeeded(older):
            raise PermanentFault(
                Fault.INPUT_RECORD_MISSING, f"there is no record of the outputs of job {job_id}"
            )
        action = older.action or (needs[place] if place < len(needs) else "")
        return self._filed_earlier(job_id, action, older), older.timestamp_ns or 0

    def _succeeded(self, actions: set[str]) -> Iterable[tuple[int, Filed]]:
        """All succeeded jobs of some actions, with the time at which they filed."""
        for record in provenance.records_of(self._storage, self._workspace):
            if record.succeeded and record.action in actions:
                yield record.filed_at_ns, _filed(record)
        named = {
            str(entry.get("job_id")): entry["action"]
            for entry in self._manifest().values()
            if isinstance(entry, dict) and entry.get("action") in actions and entry.get("job_id")
        }
        for job_id, action in named.items():
            if provenance.path_of(self._storage, self._workspace, job_id).exists():
                continue
            older = self._older_record(job_id)
            if older is not None and _succeeded(older):
                yield older.timestamp_ns or 0, self._filed_earlier(job_id, action, older)

    def _filed_earlier(self, job_id: str, action: str, record: JobRecord) -> Filed:
        files = {
            name: self._filed_file(job_id, action, name, level)
            for name, level in record.outputs.items()
        }
        return Filed(job_id, action, files)

    def _filed_file(self, job_id: str, action: str, name: str, level: str) -> FiledFile:
        """A file of a job without a record of provenance, as far as the manifest tells."""
        entry = self._entry(name)
        known, sha256 = _level(level), entry.get("content_hash")
        sha256 = sha256 if isinstance(sha256, str) else None
        if not entry or entry.get("job_id") == job_id:
            return FiledFile(sha256, known)
        if entry.get("action") == action or self._failed(str(entry.get("job_id"))):
            return FiledFile(None, known, verified=False, replaced=True)
        # A later action may have named it only because its pattern covers it.
        return FiledFile(sha256, known, verified=False)

    def _failed(self, job_id: str) -> bool:
        """Whether a job is on record, and as one that did not succeed."""
        record = provenance.load(self._storage, self._workspace, job_id)
        if record is not None:
            return not record.succeeded
        older = self._older_record(job_id)
        return older is not None and not _succeeded(older)

    def _older_record(self, job_id: str) -> JobRecord | None:
        if job_id not in self._older:
            self._older[job_id] = metadata.load(self._storage, job_id)
        return self._older[job_id]

    def _entry(self, name: str) -> Mapping[str, Any]:
        entry = self._manifest().get(name)
        return entry if isinstance(entry, dict) else {}

    def _manifest(self) -> Mapping[str, Any]:
        if self._entries is None:
            self._entries = manifest.read(self._storage, self._workspace)["outputs"]
        return self._entries


def _filed(record: ProvenanceRecord) -> Filed:
    files = {file.name: FiledFile(file.sha256, file.level) for file in record.outputs}
    return Filed(record.job_id, record.action, files)


def _succeeded(record: JobRecord) -> bool:
    return (
        record.has_outputs_on_record and record.exit_code == "0" and not record.unmatched_patterns
    )


def _level(text: str) -> PrivacyLevel | None:
    try:
        return PrivacyLevel(text)
    except ValueError:
        return None
