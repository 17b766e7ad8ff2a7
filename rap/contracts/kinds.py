"""What a contract says about each kind of thing that Temporal calls by name."""

from typing import Any, Generic, NamedTuple, TypeVar

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class Activity(NamedTuple, Generic[Argument, Result]):
    """One activity: its registered name and its types."""

    name: str
    argument: type[Argument]
    result: type[Result]


class Workflow(NamedTuple, Generic[Argument, Result]):
    """One kind of workflow: its registered name, what it is started with, what it ends with."""

    name: str
    argument: type[Argument]
    result: type[Result]


class Signal(NamedTuple, Generic[Argument]):
    """A message to a workflow that is not answered."""

    workflow: Workflow[Any, Any]
    name: str
    argument: type[Argument]


class Update(NamedTuple, Generic[Argument, Result]):
    """A message to a workflow that changes it, and is answered."""

    workflow: Workflow[Any, Any]
    name: str
    argument: type[Argument]
    result: type[Result]


class Query(NamedTuple, Generic[Result]):
    """A question to a workflow that changes nothing; it takes no argument."""

    workflow: Workflow[Any, Any]
    name: str
    result: type[Result]
