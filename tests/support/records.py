"""Rows of the read model for tests."""

from typing import Any

from rap.ids import job_id
from rap.rows import BackendRow, BackendUpdate, Intent, JobChange, JobChanges, JobRow, RapRows
from rap.sentences import CODE_SENTENCES
from rap.status import StatusCode
from tests.support.factories import COMMIT, REPO

CREATED_AT = 1_700_000_000


def rap_id(number: int = 1) -> str:
    return f"{number:016d}"


def job_row(rap: str, action: str = "analyse", **values: Any) -> JobRow:
    fields: dict[str, Any] = {
        "id": job_id(rap, action),
        "rap_id": rap,
        "position": 0,
        "backend": "test",
        "workspace": "workspace",
        "repo_url": REPO,
        "commit": COMMIT,
        "action": action,
        "run_command": "python:v2 analysis.py",
        "requires_db": False,
        "created_at": CREATED_AT,
    }
    return JobRow(**{**fields, **values})


def rap_rows(rap: str, *actions: str, **values: Any) -> RapRows:
    names = actions or ("analyse",)
    return RapRows(
        rap_id=rap,
        jobs=tuple(
            job_row(rap, action, position=position, **values)
            for position, action in enumerate(names)
        ),
    )


def created(rap: str, *actions: str, **values: Any) -> JobChanges:
    return JobChanges(created=rap_rows(rap, *actions, **values))


def change(
    rap: str, action: str, code: StatusCode, at: float, attempt: int = 1, **values: Any
) -> JobChange:
    fields: dict[str, Any] = {"message": CODE_SENTENCES[code], **values}
    return JobChange(job_id=job_id(rap, action), attempt=attempt, code=code, at=at, **fields)


def changed(rap: str, action: str, code: StatusCode, at: float, **values: Any) -> JobChanges:
    return JobChanges(changes=(change(rap, action, code, at, **values),))


def intent(rap: str, **values: Any) -> Intent:
    fields: dict[str, Any] = {
        "rap_id": rap,
        "backend": "test",
        "workspace": "workspace",
        "repo_url": REPO,
        "commit": COMMIT,
        "created_at": float(CREATED_AT),
    }
    return Intent(**{**fields, **values})


def backend_update(row: BackendRow, **values: Any) -> BackendUpdate:
    """A write of a backend with its whole queue."""
    return BackendUpdate(row=row, queued=row.queue, whole_queue=True, **values)


def backend_row(slug: str = "test", version: int = 1, **values: Any) -> BackendRow:
    fields: dict[str, Any] = {
        "slug": slug,
        "version": version,
        "updated_at": float(CREATED_AT),
        "max_workers": 10,
        "max_db_workers": 10,
    }
    return BackendRow(**{**fields, "waiting": len(values.get("queue", ())), **values})
