"""Who made an input: mostly the job that filed it, but that may only have found it itself."""

from worker_agent.workspace import provenance
from worker_agent.workspace.provenance import InputFile
from worker_agent.workspace.storage import Storage


class Makers:
    """The makers of a job's inputs, by the records of their workspace."""

    def __init__(self, storage: Storage, workspace: str) -> None:
        self._storage, self._workspace = storage, workspace
        self._found: dict[str, dict[str, str]] = {}
        self._actions: dict[str, str | None] = {}

    def of(self, file: InputFile) -> InputFile:
        """The input with its maker's job and action, as far as records tell.

        The level stays: a job that only found a file has filed it with its maker's.
        """
        self._read(file.job_id)
        maker = self._found[file.job_id].get(file.name)
        if maker is None:
            return file
        self._read(maker)
        action = self._actions[maker] or file.action
        return file.model_copy(update={"job_id": maker, "action": action})

    def _read(self, job_id: str) -> None:
        if job_id in self._actions:
            return
        record = provenance.load(self._storage, self._workspace, job_id)
        self._actions[job_id] = record.action if record else None
        self._found[job_id] = {
            file.name: file.made_by
            for file in (record.outputs if record else ())
            if file.untouched and file.made_by is not None
        }
