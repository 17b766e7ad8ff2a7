"""Orders to a backend: each is a signal, and done once the backend's own account shows it.

Every order of the command line goes through :func:`order`. The same signals can be sent from the
Web UI or with Temporal's own command; each names who ordered it and why.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from temporalio.client import Client, WorkflowQueryFailedError, WorkflowQueryRejectedError
from temporalio.service import RPCError, RPCStatusCode

from cli.connection import QUERY_WITHIN
from rap import ids
from rap.contracts.kinds import Signal
from rap.contracts.workflows import BACKEND_STATE
from rap.errors import RapError, Unavailable
from rap.rows import BackendRow
from rap.temporal.messages import query, send_signal

Message = TypeVar("Message")

SHOWN_WITHIN_S = 10.0
_LOOK_EVERY_S = 0.2


async def order(
    client: Client,
    backend: str,
    signal: Signal[Message],
    message: Message,
    shows: Callable[[BackendRow], bool],
) -> BackendRow:
    """Send a signal to a backend, and wait until its account of itself shows the effect.

    ``shows`` tells whether the effect is there; a repeated order finds it at once.

    Raises:
        Unavailable: the backend cannot be reached, or does not show the effect in time.
    """
    try:
        await send_signal(
            client, signal, ids.backend_workflow_id(backend), message, within=QUERY_WITHIN
        )
    except RPCError as error:
        raise _unreachable(backend, error) from error
    deadline = time.monotonic() + SHOWN_WITHIN_S
    while time.monotonic() < deadline:
        try:
            row = await state_of(client, backend)
        except Unavailable as error:
            raise Unavailable(
                f"The order ({signal.name}) was taken and will be carried out, but backend "
                f"'{backend}' does not show it yet: the controller worker seems not to run. "
                f"Start it, then look with `rap backend show {backend}`."
            ) from error
        if shows(row):
            return row
        await asyncio.sleep(_LOOK_EVERY_S)
    raise Unavailable(
        f"The order was sent to backend '{backend}', but its state does not show it after "
        f"{SHOWN_WITHIN_S:.0f} s. Somebody else may have ordered otherwise: "
        f"`rap backend show {backend}` lists the orders."
    )


async def state_of(client: Client, backend: str) -> BackendRow:
    """A backend's own account of itself, as of now; Unavailable if it does not answer."""
    try:
        return await query(
            client, BACKEND_STATE, ids.backend_workflow_id(backend), within=QUERY_WITHIN
        )
    except RPCError as error:
        raise _unreachable(backend, error) from error
    except (WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
        text = f"Backend '{backend}' cannot say how it is; see the controller's log."
        raise RapError(text) from error


def _unreachable(backend: str, error: RPCError) -> Unavailable:
    if error.status is RPCStatusCode.NOT_FOUND:
        return Unavailable(
            f"Backend '{backend}' is not being served: start the controller worker with it among "
            "its BACKENDS."
        )
    return Unavailable(
        f"No answer came from backend '{backend}'. Check that Temporal and the controller run; "
        f"`rap backend show {backend}` tells how it is."
    )
