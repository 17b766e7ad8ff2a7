"""What all orders to a backend share: who gives them and why, waiting for them, telling of them."""

from __future__ import annotations

import getpass
import inspect
import os
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from cli import environment
from cli.console import messages, patience, reply, say, stderr
from cli.options import Backend, By, Data, Json, Why
from rap.errors import ConfigurationError

if TYPE_CHECKING:
    from temporalio.client import Client

    from rap.contracts.kinds import Signal
    from rap.rows import BackendRow

Message = TypeVar("Message")

LONGEST_REASON = 500


class Operator:
    """Somebody at the command line who gives orders to one backend.

    Raises:
        ConfigurationError: there is no such backend, or the reason is longer than one would carry.
    """

    def __init__(
        self,
        *,
        backend: Backend,
        why: Why = "",
        by: By = None,
        data: Data = None,
        as_json: Json = False,
    ) -> None:
        self.backend = environment.backend_of(backend, environment.enter(data))
        if len(why) > LONGEST_REASON:
            raise ConfigurationError(f"--why may have {LONGEST_REASON} characters, not {len(why)}")
        self.by = by or login()
        self.why = why
        self.as_json = as_json
        self.out = messages(as_json=as_json)

    def order(
        self, signal: Signal[Message], message: Message, shows: Callable[[BackendRow], bool]
    ) -> BackendRow:
        """Give an order; the backend once it is carried out, which ``shows`` tells."""
        from cli.backend.signals import order

        return self._ask(lambda client: order(client, self.backend, signal, message, shows))

    def pause(self, *, on: bool) -> BackendRow:
        """Pause or unpause the backend; the backend as it is then."""
        from rap.contracts.workflows import PAUSE
        from rap.messages.orders import Switch

        message = Switch(on=on, by=self.by, why=self.why)
        return self.order(PAUSE, message, lambda row: row.paused is on)

    def maintain(self, *, on: bool, disable_checks: bool) -> BackendRow:
        """Switch database maintenance by hand; the backend as it is then."""
        from rap.contracts.workflows import DATABASE_MAINTENANCE
        from rap.messages.orders import Switch
        from rap.rows import MaintenanceType

        message = Switch(on=on, by=self.by, why=self.why, disable_checks=on and disable_checks)

        def shows(row: BackendRow) -> bool:
            manual = row.maintenance_type is MaintenanceType.MANUAL
            return manual is on and row.checks_disabled is message.disable_checks

        return self.order(DATABASE_MAINTENANCE, message, shows)

    def state(self) -> BackendRow:
        """The backend's own account of itself."""
        from cli.backend.signals import state_of

        return self._ask(lambda client: state_of(client, self.backend))

    def _ask(self, question: Callable[[Client], Awaitable[BackendRow]]) -> BackendRow:
        from cli.connection import ask

        with patience(stderr(), f"Waiting for backend {self.backend} …"):
            return ask(question)

    def say(self, text: str) -> None:
        """Say something to the person at the terminal."""
        say(self.out, text)

    def tell(self, row: BackendRow, *lines: str) -> None:
        """Say what was done, in words or as a document."""
        document = row.model_dump(mode="json")
        latest = document["orders"][-1] if row.orders else None
        reply(
            {"backend": self.backend, "order": latest, "state": document},
            lines,
            as_json=self.as_json,
        )


def by_operator(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that all orders have: its ``operator`` is made of them.

    The argument BACKEND takes the place of ``operator``, the options come behind the others.
    """
    shared = dict(inspect.signature(Operator, eval_str=True).parameters)
    own = dict(inspect.signature(command, eval_str=True).parameters)

    @wraps(command)
    def ordered(**given: Any) -> None:  # noqa: ANN401 - as the options are declared
        operator = Operator(**{name: given.pop(name) for name in shared if name in given})
        command(operator=operator, **given)

    own["operator"] = shared["backend"]
    options = [option for option in shared.values() if option.name != "backend"]
    vars(ordered)["__signature__"] = inspect.Signature([*own.values(), *options])
    return ordered


def login() -> str:
    """Whoever is logged in; under sudo the person matters, not the account."""
    person = os.environ.get("SUDO_USER")
    if person:
        return person
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
