"""Orders to a backend: each is a signal, and done once the backend's own account shows it.

Every order of the command line goes through :func:`order`. The same signals can be sent from the
Web UI or with Temporal's own command; each names who ordered it and why.
"""

import asyncio
import getpass
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.service import RPCError, RPCStatusCode

from rap import ids
from rap.cli.orders import QUERY_WITHIN
from rap.errors import ConfigurationError, RapError, Unavailable
from rap.models import Model
from rap.rows import BackendRow

SHOWN_WITHIN_S = 10.0
LONGEST_REASON = 500
_LOOK_EVERY_S = 0.2


@dataclass(frozen=True)
class Author:
    """Who gives an order, and why."""

    by: str
    why: str = ""

    @classmethod
    def of(cls, by: str | None, why: str) -> "Author":
        """The one who was named, else whoever is logged in.

        Raises:
            ConfigurationError: the reason is longer than a backend would like to carry.
        """
        if len(why) > LONGEST_REASON:
            raise ConfigurationError(f"--why may have {LONGEST_REASON} characters, not {len(why)}")
        return cls(by or _login(), why)


def _login() -> str:
    # Under sudo the name of the person matters, not that of the account.
    person = os.environ.get("SUDO_USER")
    if person:
        return person
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


async def order(
    client: Client, backend: str, signal: str, message: Model, shows: Callable[[BackendRow], bool]
) -> BackendRow:
    """Send a signal to a backend, and wait until its account of itself shows the effect.

    Args:
        client: of Temporal.
        backend: its slug.
        signal: name of the signal.
        message: its payload.
        shows: whether the effect is there; a repeated order finds it at once.

    Returns:
        The backend as it is now.

    Raises:
        Unavailable: the backend cannot be reached, or does not show the effect in time.
    """
    try:
        await _workflow(client, backend).signal(signal, message, rpc_timeout=QUERY_WITHIN)
    except RPCError as error:
        raise _unreachable(backend, error) from error
    deadline = time.monotonic() + SHOWN_WITHIN_S
    while time.monotonic() < deadline:
        row = await _state_after(client, backend, signal)
        if shows(row):
            return row
        await asyncio.sleep(_LOOK_EVERY_S)
    raise Unavailable(
        f"The order was sent to backend '{backend}', but its state does not show it after "
        f"{SHOWN_WITHIN_S:.0f} s. Somebody else may have ordered otherwise: "
        f"`rap backend show {backend}` lists the orders."
    )


async def _state_after(client: Client, backend: str, signal: str) -> BackendRow:
    try:
        return await state_of(client, backend)
    except Unavailable as error:
        raise Unavailable(
            f"The order ({signal}) was taken and will be carried out, but backend '{backend}' does "
            "not show it yet: the controller worker seems not to run. Start it, then look with "
            f"`rap backend show {backend}`."
        ) from error


async def state_of(client: Client, backend: str) -> BackendRow:
    """A backend's own account of itself, as of now.

    Raises:
        Unavailable: it does not answer.
    """
    try:
        row: BackendRow = await _workflow(client, backend).query(
            "state", result_type=BackendRow, rpc_timeout=QUERY_WITHIN
        )
    except RPCError as error:
        raise _unreachable(backend, error) from error
    except (WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
        text = f"Backend '{backend}' cannot say how it is; see the controller's log."
        raise RapError(text) from error
    return row


def _workflow(client: Client, backend: str) -> WorkflowHandle[Any, Any]:
    return client.get_workflow_handle(ids.backend_workflow_id(backend))


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
