"""The activities by name, argument and result: all that a workflow knows of them.

An implementation registers under ``contract.name`` and takes and returns the contract's types.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from rap.egress import Acknowledged, DatabaseStatusAnswer, DataCheckAnswer, JobOutcome
from rap.messages import (
    CheckSwitches,
    DatabaseStatusOrder,
    DataCheckOrder,
    DiscardOrder,
    TerminateOrder,
    WorkflowIds,
    WorkspaceStart,
)
from rap.models import (
    BackendRequest,
    CreateRequest,
    ImageAnswer,
    ImageRequest,
    JobDefinition,
    ProjectAnswer,
    ResolveAnswer,
    ResolveRequest,
    Weights,
)
from rap.rows import BackendUpdate, IntentSettlement, JobChanges

Argument = TypeVar("Argument")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Contract(Generic[Argument, Result]):
    """One activity: its registered name and its types."""

    name: str
    argument: type[Argument]
    result: type[Result]


# Controller queue.
LOAD_PROJECT = Contract("load_project", CreateRequest, ProjectAnswer)
RESOLVE_REUSABLE_ACTIONS = Contract("resolve_reusable_actions", ResolveRequest, ResolveAnswer)
RESOLVE_IMAGE = Contract("resolve_image", ImageRequest, ImageAnswer)
FIND_CLOSED = Contract("find_closed", WorkflowIds, WorkflowIds)
"""Which of the given workflows do not run (any more)."""
SWITCH_CHECKS = Contract("switch_checks", CheckSwitches, Acknowledged)
"""Pause and resume the schedules of a backend's database checks."""

LOAD_WEIGHTS = Contract("load_weights", BackendRequest, Weights)
FIND_RAPS = Contract("find_raps", BackendRequest, WorkflowIds)
"""The workflows of all RAPs of a backend that run."""

LOAD_WORKSPACE = Contract("load_workspace", WorkspaceStart, WorkspaceStart)
"""What a workspace that was lost knew, from the read model."""

# Local activities of the controller: the only writers of the read model.
RECORD_JOBS = Contract("record_jobs", JobChanges, Acknowledged)
RECORD_BACKEND = Contract("record_backend", BackendUpdate, Acknowledged)
SETTLE_INTENT = Contract("settle_intent", IntentSettlement, Acknowledged)

# Agent host queue.
RUN_JOB = Contract("run_job", JobDefinition, JobOutcome)

# Agent control queue.
TERMINATE_JOB = Contract("terminate_job", TerminateOrder, Acknowledged)
DISCARD_JOB = Contract("discard_job", DiscardOrder, Acknowledged)

# Queue of the backend: any of its agent hosts.
DATABASE_STATUS = Contract("database_status", DatabaseStatusOrder, DatabaseStatusAnswer)
DATABASE_DATA_CHECK = Contract("database_data_check", DataCheckOrder, DataCheckAnswer)
