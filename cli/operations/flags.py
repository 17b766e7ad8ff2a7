"""A backend's switches as flags (docs/spec/controller.md 2.3, 15.1, 15.2). Pure."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from rap.errors import ConfigurationError
from rap.rows import BackendRow, MaintenanceType
from rap.status_answers import microseconds


class FlagName(StrEnum):
    """The flags of a backend, in the order in which they are shown."""

    PAUSED = "paused"
    MODE = "mode"
    MANUAL = "manual-db-maintenance"
    CHECKS_DISABLED = "db-maintenance-checks-disabled"
    LAST_SEEN = "last-seen-at"


SETTABLE = {
    FlagName.PAUSED: "true",
    FlagName.MODE: "db-maintenance",
    FlagName.MANUAL: "on",
    FlagName.CHECKS_DISABLED: "true",
}
"""The only value that each flag may have beside none."""


class Flag(NamedTuple):
    """A flag as it stands; one that was never set has no time."""

    backend: str
    name: str
    value: str | None
    since: str | None
    """ISO time of the last change, UTC."""

    @property
    def line(self) -> str:
        """``[<backend>] <name>=<value> (<ISO time>)``."""
        return f"[{self.backend}] {self.name}={self.value} ({self.since or 'never set'})"


def flags_of(row: BackendRow, names: Iterable[str] = ()) -> list[Flag]:
    """The flags of these names, in this order; without names those that were ever set.

    A name that is no flag's stands for one that was never set.
    """
    known = {flag.name: flag for flag in _all(row)}
    wanted = list(names)
    if not wanted:
        return [flag for flag in known.values() if flag.since is not None]
    return [known.get(name) or Flag(row.slug, name, None, None) for name in wanted]


def paused_lines(row: BackendRow) -> list[str]:
    """Whether the backend is paused, as a flag."""
    return [flag.line for flag in flags_of(row, [FlagName.PAUSED])]


def maintenance_lines(row: BackendRow) -> list[str]:
    """The flags of database maintenance, in the order of docs/spec/controller.md 15.2."""
    names = (FlagName.MODE, FlagName.MANUAL, FlagName.CHECKS_DISABLED)
    return [flag.line for flag in flags_of(row, names)]


def _all(row: BackendRow) -> Iterable[Flag]:
    manual = row.maintenance and row.maintenance_type is MaintenanceType.MANUAL
    state = {
        FlagName.PAUSED: (row.paused, row.paused_since),
        FlagName.MODE: (row.maintenance, row.maintenance_since),
        FlagName.MANUAL: (manual, row.manual_since),
        FlagName.CHECKS_DISABLED: (row.checks_disabled, row.checks_disabled_since),
    }
    for name, (on, since) in state.items():
        yield Flag(row.slug, name.value, SETTABLE[name] if on else None, microseconds(since))
    seen = microseconds(row.last_seen)
    yield Flag(row.slug, FlagName.LAST_SEEN.value, seen, seen)


# --- setting ---


class Change(NamedTuple):
    """The orders that setting some flags stands for; ``None`` where nothing is ordered."""

    pause: bool | None = None
    maintenance: bool | None = None
    disable_checks: bool = False


def parse(words: Iterable[str]) -> dict[FlagName, bool]:
    """Flag to whether it is to be set, from words such as ``paused=true`` and ``paused=``.

    Raises:
        ConfigurationError: a word is not of this form, or names no flag or no value that can be
            set.
    """
    return dict(_parsed(word) for word in words)


def _parsed(word: str) -> tuple[FlagName, bool]:
    name, sign, value = word.partition("=")
    if not sign:
        # The first words are those that operators' scripts look for (docs/spec/controller.md 15.1).
        raise ConfigurationError(f"invalid parse_cli_flag value: {word!r}; write NAME=VALUE")
    flag = next((flag for flag in SETTABLE if flag.value == name), None)
    if flag is None:
        names = ", ".join(flag.value for flag in SETTABLE)
        raise ConfigurationError(f"Flag {name!r} cannot be set; those that can are: {names}")
    allowed = SETTABLE[flag]
    if value and value.lower() != allowed:
        raise ConfigurationError(
            f"Flag {name} can be {name}={allowed}, or {name}= for none, but not {value!r}"
        )
    return flag, bool(value)


def change_for(wanted: Mapping[FlagName, bool], row: BackendRow) -> Change:
    """The orders that bring a backend's flags to what is wanted.

    ``mode`` and ``manual-db-maintenance`` are one switch here: whoever sets the mode does so by
    hand, and it stays until it is cleared by hand. ConfigurationError if flags contradict each
    other.
    """
    pause = wanted.get(FlagName.PAUSED)
    asked = {wanted[name] for name in (FlagName.MODE, FlagName.MANUAL) if name in wanted}
    if len(asked) == 2:
        raise ConfigurationError(
            "mode and manual-db-maintenance are one switch: set both, or clear both"
        )
    disable = wanted.get(FlagName.CHECKS_DISABLED)
    if not asked and disable is None:
        return Change(pause)
    manual = row.maintenance_type is MaintenanceType.MANUAL
    on = asked.pop() if asked else manual
    if disable and not on:
        raise ConfigurationError(
            "db-maintenance-checks-disabled has an effect only with manual-db-maintenance=on: "
            "set that, too"
        )
    if not on and not manual and FlagName.MODE not in wanted and FlagName.MANUAL not in wanted:
        # Nothing was switched off by hand, and what a check found is not to be cleared.
        return Change(pause)
    return Change(pause, on, row.checks_disabled if disable is None and on else bool(disable))
