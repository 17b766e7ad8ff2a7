"""The maintenance windows of a backend, and what they switch on. Pure."""

from collections.abc import Iterable, Mapping

from rap.rows import WindowKind


class OpenWindows:
    """The windows that are open now.

    A window switches off what it switched on, unless another window still needs it or an operator
    has given an order about it meanwhile: orders of people outrank windows.

    Args:
        windows: those that are open, by name.
        held: what is on because of a window.
    """

    def __init__(self, windows: Mapping[str, WindowKind], held: Iterable[WindowKind] = ()) -> None:
        self.by_name = dict(windows)
        self._held = {_switch(kind) for kind in held}

    @property
    def held(self) -> tuple[WindowKind, ...]:
        """What is on because of a window."""
        return tuple(sorted(self._held))

    def opens(self, name: str, kind: WindowKind, *, is_on: bool) -> bool:
        """Take note of a window; whether it is to be switched on now.

        Args:
            name: of the window.
            kind: what it does.
            is_on: whether that is on already.
        """
        self.by_name[name] = kind
        if not is_on:
            self._held.add(_switch(kind))
        # Whoever paused the backend before, a window for a reboot still stops what runs.
        return not is_on or kind is WindowKind.REBOOT

    def closes(self, name: str) -> WindowKind | None:
        """Forget a window; what is to be switched off now, if anything."""
        kind = self.by_name.pop(name, None)
        if kind is None:
            return None
        switch = _switch(kind)
        still_needed = any(_switch(other) is switch for other in self.by_name.values())
        if still_needed or switch not in self._held:
            return None
        self._held.discard(switch)
        return switch

    def outranked(self, kind: WindowKind) -> None:
        """Take note that an operator has given an order about this."""
        self._held.discard(_switch(kind))


def _switch(kind: WindowKind) -> WindowKind:
    """A window for a reboot holds the same switch as a pause."""
    return WindowKind.MAINTENANCE if kind is WindowKind.MAINTENANCE else WindowKind.PAUSE
