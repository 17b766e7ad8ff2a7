"""What an attempt has filed that its job has ended, or gone on, without.

A host that was declared lost may have filed the outputs of an attempt, and come back to say so when
nobody asks any more: its job was cancelled, or had to begin again. Its files are where they are,
but they must not count as those of a job that succeeded.
"""

from rap.egress import Ending, JobOutcome
from rap.models import JobDefinition
from worker_agent.atomic_files import write_file
from worker_agent.workspace import metadata, provenance
from worker_agent.workspace.filing import finish_begun
from worker_agent.workspace.job_texts import CANCELLED
from worker_agent.workspace.locks import workspace_lock
from worker_agent.workspace.storage import Storage


def disown(definition: JobDefinition, storage: Storage) -> None:
    """Have the records of an attempt say that it was cancelled, if they say that it completed.

    Both under the lock of the workspace, as they were written; may be repeated. An attempt that is
    not the one on record is left alone.

    Raises:
        TransientFault: DISK_FULL.
    """
    with workspace_lock(storage, definition.workspace):
        finish_begun(storage, definition.workspace)
        filed = provenance.load(storage, definition.workspace, definition.id)
        if filed is not None and filed.succeeded and filed.task_id == definition.task_id:
            disowned = filed.model_copy(update={"succeeded": False, "cancelled": True})
            path = provenance.path_of(storage, definition.workspace, definition.id)
            write_file(path, provenance.encoded(disowned))
        record = metadata.load_for(definition, storage)
        if record is None or metadata.outcome_of(record, definition).ending is not Ending.COMPLETED:
            return
        outcome = JobOutcome(task_id=definition.task_id, ending=Ending.CANCELLED)
        changes = {"cancelled": True, "status_message": CANCELLED, "outcome": outcome}
        metadata.save(storage, definition, record.model_copy(update=changes))
