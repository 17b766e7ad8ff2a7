"""One opening of a maintenance window, started by its schedule."""

import asyncio

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from rap import ids
    from rap.messages import Window, WindowOrder
    from workflows.calls import tell
    from workflows.describe import window_details
    from workflows.markdown import summary


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
        namespace = workflow.info().namespace

        def show(until: float | None) -> None:
            workflow.set_current_details(window_details(window, until=until, namespace=namespace))

        try:
            await tell(backend, "window", order)
            show(until=workflow.now().timestamp() + window.seconds)
            await workflow.sleep(window.seconds, summary=summary(f"until {window.name} closes"))
        finally:
            show(until=None)
            closing = asyncio.create_task(
                tell(backend, "window", order.model_copy(update={"opens": False}))
            )
            await asyncio.shield(closing)
