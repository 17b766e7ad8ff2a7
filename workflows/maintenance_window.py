"""One opening of a maintenance window, started by its schedule."""

import asyncio

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from rap import ids
    from rap.contracts.workflows import MAINTENANCE_WINDOW, WINDOW
    from rap.messages.orders import Window, WindowOrder
    from workflows.calls import send_signal
    from workflows.markdown import summary
    from workflows.texts import window_details


@workflow.defn(name=MAINTENANCE_WINDOW.name)
class MaintenanceWindowWorkflow:
    """Opens the window, waits, and closes it; cancelled, it closes it at once."""

    @workflow.run
    async def run(self, window: Window) -> None:
        """Keep a window open for its time.

        The backend takes back at the end only what the window did, not what an operator ordered.
        Should this workflow be terminated, the backend closes the window at its planned end.
        """
        order = WindowOrder(
            name=window.name,
            kind=window.kind,
            opens=True,
            by=window.by,
            why=window.why,
            seconds=window.seconds,
            workflow_id=workflow.info().workflow_id,
        )
        backend = ids.backend_workflow_id(window.backend)
        namespace = workflow.info().namespace

        def show(until: float | None) -> None:
            workflow.set_current_details(window_details(window, until=until, namespace=namespace))

        try:
            await send_signal(WINDOW, backend, order)
            show(until=workflow.time() + window.seconds)
            await workflow.sleep(window.seconds, summary=summary(f"until {window.name} closes"))
        finally:
            show(until=None)
            closing = asyncio.create_task(
                send_signal(WINDOW, backend, order.model_copy(update={"opens": False}))
            )
            await asyncio.shield(closing)
