"""What a workflow of ours is started with beside its argument, whoever starts it."""

from datetime import timedelta
from typing import TypedDict

from temporalio.common import TypedSearchAttributes

from rap import ids
from rap.temporal.search_attributes import search_attributes


class StartOptions(TypedDict):
    """The options by the names that Temporal's SDK gives them, for a client and a parent alike."""

    id: str
    task_queue: str
    search_attributes: TypedSearchAttributes
    static_summary: str
    static_details: str
    task_timeout: timedelta | None


def start_options(
    workflow_id: str,
    texts: tuple[str, str],
    *,
    task_timeout: timedelta | None = None,
    **attributes: str | bool,
) -> StartOptions:
    """The options of one workflow, with ``attributes`` as for :func:`search_attributes`.

    The ``texts`` are what lists of workflows show, plain, and what its page shows, in Markdown.
    The ``task_timeout`` is how long one step of the workflow may take; ten seconds if not given.
    """
    summary, details = texts
    return StartOptions(
        id=workflow_id,
        task_queue=ids.CONTROLLER_QUEUE,
        search_attributes=search_attributes(**attributes),
        static_summary=summary,
        static_details=details,
        task_timeout=task_timeout,
    )
