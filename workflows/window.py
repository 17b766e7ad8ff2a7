"""One opening of a maintenance window, started by its schedule."""

import asyncio

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from rap import ids
    from rap.messages import Window, WindowOrder
    from workflows.calls import tell


@workflow.defn(name="MaintenanceWindowWorkflow")
class MaintenanceWindowWorkflow:
    """Opens the window, waits, and closes it; cancelled, it closes it at once."""

    @workflow.run
    async def run(self, window: Window) -> None:
        """Keep a window open for its time.

        The backend takes back at the end only what the window did, not what an operator ordered.
        """
        order = WindowOrder(
            name=window.name, kind=window.kind, opens=True, by=window.by, why=window.why
        )
        backend = ids.backend_workflow_id(window.backend)
        try:
            await tell(backend, "window", order)
            await workflow.sleep(window.seconds)
        finally:
            closing = asyncio.create_task(
                tell(backend, "window", order.model_copy(update={"opens": False}))
            )
            await asyncio.shield(closing)
