"""Which jobs of a RAP a cancel is about."""

from collections.abc import Mapping

from rap.messages.workspaces import CancelOrder
from workflows.rap.progress import Progress


def jobs_to_cancel(jobs: Mapping[str, Progress], order: CancelOrder) -> list[Progress]:
    """The named jobs that have not ended: one that has keeps its status and its message.

    Jobs that are not of this RAP are none of its business (docs/spec/rap-api.md A7).
    """
    named = (jobs.get(job_id) for job_id in order.job_ids)
    return [job for job in named if job is not None and not job.is_over]
