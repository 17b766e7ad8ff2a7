"""``rap flags …``: a backend's switches as flags (docs/spec/controller.md 15.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.backend.orders import Operator
from cli.console import reply
from cli.lazy_group import LazyGroup
from cli.options import By, Data, Json, NamedBackend, Why

if TYPE_CHECKING:
    from cli.operations.flags import Flag

group = LazyGroup(
    __name__,
    ("get", "set"),
    name="flags",
    help="Show and set the switches of a backend as flags.",
)

Create = Annotated[bool, typer.Option("--create", hidden=True)]


def get(
    *,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Flags to show. Default: all ever set."),
    ] = None,
    backend: NamedBackend,
    create: Create = False,  # noqa: ARG001 - there is nothing to create, but scripts say it
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show flags with their values and the times of their last changes.

    Example: rap flags get paused mode --backend tpp
    """
    from cli.operations.flags import flags_of

    operator = Operator(backend=backend, data=data, as_json=as_json)
    _tell(operator, flags_of(operator.state(), names or []))


def set_(
    *,
    words: Annotated[
        list[str],
        typer.Argument(metavar="NAME=VALUE", help="What to set; `NAME=` sets it to none."),
    ],
    backend: NamedBackend,
    create: Create = False,  # noqa: ARG001 - as above
    why: Why = "",
    by: By = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Set flags: paused, mode, manual-db-maintenance, db-maintenance-checks-disabled.

    Each stands for an order of `rap backend`, and is recorded as that.

    Example: rap flags set paused=true --backend tpp
    """
    from cli.operations.flags import change_for, flags_of, parse

    # Before anything is asked or said: half of what was wanted would be worse than nothing.
    wanted = parse(words)
    operator = Operator(backend=backend, by=by, why=why, data=data, as_json=as_json)
    row = operator.state()
    change = change_for(wanted, row)
    if change.pause is not None:
        row = operator.pause(on=change.pause)
    if change.maintenance is not None:
        row = operator.maintain(on=change.maintenance, disable_checks=change.disable_checks)
    _tell(operator, flags_of(row, [name.value for name in wanted]))


def _tell(operator: Operator, flags: Sequence[Flag]) -> None:
    document = {"backend": operator.backend, "flags": [flag._asdict() for flag in flags]}
    reply(document, (flag.line for flag in flags), as_json=operator.as_json)
