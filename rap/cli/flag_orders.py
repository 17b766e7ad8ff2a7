"""``rap flags``: the raw view of a backend's switches (controller.md 15.1)."""

from collections.abc import Sequence

from rap.cli import show
from rap.cli.backend_orders import Desk, Given, maintenance_at, pause_at
from rap.operations.flags import Flag, change_for, flags_of, parse


def get(given: Given, names: Sequence[str]) -> int:
    """Carry out ``rap flags get``; its exit code."""
    desk = Desk(given)
    _tell(desk, flags_of(desk.state(), names))
    return 0


def set_(given: Given, words: Sequence[str]) -> int:
    """Carry out ``rap flags set``; its exit code.

    Raises:
        ConfigurationError: what is to be set is no flag, or not settable; nothing was changed.
    """
    # Before anything is asked or said: half of what was wanted would be worse than nothing.
    wanted = parse(words)
    desk = Desk(given)
    row = desk.state()
    change = change_for(wanted, row)
    if change.pause is not None:
        row = pause_at(desk, on=change.pause)
    if change.maintenance is not None:
        row = maintenance_at(desk, on=change.maintenance, disable_checks=change.disable_checks)
    _tell(desk, flags_of(row, [name.value for name in wanted]))
    return 0


def _tell(desk: Desk, flags: Sequence[Flag]) -> None:
    if desk.as_json:
        show.print_json({"backend": desk.backend, "flags": [flag._asdict() for flag in flags]})
    else:
        for flag in flags:
            show.say(desk.out, flag.line)
