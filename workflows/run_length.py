"""How long the history of a workflow's run has become, as far as its own steps tell. Pure.

Not by ``workflow.info()``: where a local activity outlasts its workflow task, Temporal adds tasks
that a replay passes over, so a run that asks for its length then decides otherwise in a replay, and
cannot go on. What a run has done is the same each time.
"""

TOLD = 2
"""Events that a message to the workflow makes, with its part of the workflow task that takes it."""

WRITTEN = 6
"""Those of a write to the read model: its marker, a timer, and the task that the timer makes."""

SENT = 3
"""Those of a message to another workflow."""

CHANGED = 5
"""Those of a change of a job in its RAP, with what it makes others do."""

LOOKED = 8
"""Those of a question to the controller, with the timer before it."""

CREATED = 30
"""Those of a create, with its questions and the start of its RAP."""


class RunLength:
    """Counts the events of a run; those of several messages at once rather too many."""

    def __init__(self, longest: int) -> None:
        self._longest, self._events = longest, 0

    def add(self, events: int) -> None:
        """Something was done that makes so many."""
        self._events += events

    @property
    def is_long(self) -> bool:
        """Whether the run should be left behind."""
        return self._events >= self._longest
