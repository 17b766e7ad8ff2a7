"""How the workflow of a workspace is started: by its first request, and again if it was lost."""

from contextlib import suppress

from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

from rap import ids
from rap.contracts.workflows import WORKSPACE
from rap.messages.workspaces import WorkspaceStart
from rap.temporal.start_options import StartOptions, start_options
from workflows.calls import start_child
from workflows.texts import workspace_texts


def workspace_options(backend: str, workspace: str) -> StartOptions:
    """The options for whoever starts it."""
    return start_options(
        ids.workspace_workflow_id(backend, workspace),
        workspace_texts(backend, workspace),
        backend=backend,
        workspace=workspace,
    )


async def start_workspace_again(backend: str, workspace: str) -> None:
    """Start the workflow of a workspace that somebody terminated; it recovers what it knew."""
    # If a request came first, it recovers as well.
    with suppress(WorkflowAlreadyStartedError):
        await start_child(
            WORKSPACE,
            WorkspaceStart(backend=backend, workspace=workspace, recovering=True),
            workspace_options(backend, workspace),
            when_parent_closes=ParentClosePolicy.ABANDON,
        )
