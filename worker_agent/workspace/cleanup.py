"""Removing what a job left behind (docs/spec/agent.md 11.3)."""

import structlog

from rap.errors import JobFault
from worker_agent.workspace.locks import job_lock
from worker_agent.workspace.outputs import MARKER, shown
from worker_agent.workspace.publish import discard_staged
from worker_agent.workspace.removing import remove_tree
from worker_agent.workspace.storage import Storage

log = structlog.get_logger()


def remove_volume(storage: Storage, name: str) -> None:
    """Delete the volume of an attempt, by its name, and all that was made for it; never raises.

    Nothing there is fine. The marker goes first, so that a volume of which only a part could be
    removed never looks prepared. What remains is said in the log.
    """
    try:
        with job_lock(name):
            remove_tree(storage.volume(name) / MARKER)
            for path in (storage.volume(name), storage.unfinished(name)):
                failed = remove_tree(path)
                if failed:
                    listed = ", ".join(map(shown, failed))
                    log.error(f"could not remove {len(failed)} files from {path}: {listed}")
            discard_staged(storage, name)
    except (OSError, JobFault):
        log.exception(f"Failed to cleanup job volume {name}")
