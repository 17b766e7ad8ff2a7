"""The maintenance windows of a backend, and what they switch on. Pure."""

from collections.abc import Collection, Iterable, Mapping

from rap.rows import OpenWindow
from rap.windows import WindowKind


class OpenWindows:
    """The windows that are open now.

    A window switches off what it switched on, unless another window still needs it or an operator
    has given an order about it meanwhile: orders of people outrank windows.

    Each is closed by the workflow that opened it. One whose workflow is missing stays open until
    its planned end, and is ``overdue`` then.
    """

    def __init__(self, windows: Mapping[str, OpenWindow], held: Iterable[WindowKind] = ()) -> None:
        self.by_name = dict(windows)
        self._held = {kind.switch for kind in held}

    @property
    def held(self) -> tuple[WindowKind, ...]:
        """What is on because of a window."""
        return tuple(sorted(self._held))

    def opens(self, name: str, window: OpenWindow, *, is_on: bool) -> bool:
        """Take note of a window; whether what it does, which ``is_on`` already, is to be done."""
        self.by_name[name] = window
        if not is_on:
            self._held.add(window.kind.switch)
        # Whoever paused the backend before, a window for a reboot still stops what runs.
        return not is_on or window.kind is WindowKind.REBOOT

    def closes(self, name: str) -> WindowKind | None:
        """Forget a window; what is to be switched off now, if anything."""
        window = self.by_name.pop(name, None)
        if window is None:
            return None
        switch = window.kind.switch
        still_needed = any(other.kind.switch is switch for other in self.by_name.values())
        if still_needed or switch not in self._held:
            return None
        self._held.discard(switch)
        return switch

    def outranked(self, kind: WindowKind) -> None:
        """Take note that an operator has given an order about this."""
        self._held.discard(kind.switch)

    # --- windows that nobody will close ---

    def closers(self) -> tuple[str, ...]:
        """The workflows that are to close windows and were running when last looked for."""
        return tuple(
            window.workflow_id
            for window in self.by_name.values()
            if window.workflow_id and not window.missing
        )

    def lose(self, closed: Collection[str]) -> bool:
        """Take note of workflows that run no more; whether a window is missing its own."""
        lost = {
            name: window.model_copy(update={"missing": True})
            for name, window in self.by_name.items()
            if window.workflow_id in closed and not window.missing
        }
        self.by_name |= lost
        return bool(lost)

    def overdue(self, now: float) -> list[str]:
        """The windows without their workflows that should have closed by now."""
        return [name for name, end in self._ends() if end <= now]

    def next_end(self) -> float | None:
        """When the next of them closes."""
        return min((end for _, end in self._ends()), default=None)

    def _ends(self) -> Iterable[tuple[str, float]]:
        return [
            (name, window.until)
            for name, window in self.by_name.items()
            if window.missing and window.until is not None
        ]
