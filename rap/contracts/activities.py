"""The activities by name, argument and result: all that a workflow knows of them.

An implementation registers under ``contract.name`` and takes and returns the contract's types.
"""

from rap import models, planned_jobs, rows
from rap.contracts.kinds import Activity
from rap.egress import Acknowledged, DatabaseStatusAnswer, DataCheckAnswer, JobOutcome
from rap.messages import backends, checks, jobs, workspaces

UNFORESEEN = "Unforeseen"
"""Type of the application error for what would go wrong again."""
UNAVAILABLE = "Unavailable"
"""Type of the application error for what passes."""

# Controller queue.
LOAD_KNOWN_PROJECT = Activity("load_known_project", models.CreateRequest, models.ProjectAnswer)
"""As the next, as a local activity; answers with neither a project nor a refusal if something has
to be fetched."""
LOAD_PROJECT = Activity("load_project", models.CreateRequest, models.ProjectAnswer)
RESOLVE_REUSABLE_ACTIONS = Activity(
    "resolve_reusable_actions", planned_jobs.ResolveRequest, planned_jobs.ResolveAnswer
)
RESOLVE_IMAGE = Activity("resolve_image", models.ImageRequest, models.ImageAnswer)
FIND_CLOSED = Activity("find_closed", backends.WorkflowIds, backends.WorkflowIds)
"""Which of the given workflows do not run (any more)."""
LATEST_ATTEMPT = Activity("latest_attempt", jobs.AttemptQuestion, jobs.LatestAttempt)
AWAIT_ATTEMPTS = Activity("await_attempts", backends.WorkflowIds, jobs.AttemptEnds)
"""Wait until one of the given attempts has ended; after some time with nothing."""
SWITCH_CHECKS = Activity("switch_checks", backends.CheckSwitches, Acknowledged)
"""Pause and resume the schedules of a backend's database checks."""

LOAD_WEIGHTS = Activity("load_weights", models.BackendRequest, models.Weights)
FIND_RAPS = Activity("find_raps", models.BackendRequest, backends.WorkflowIds)
"""The workflows of all RAPs of a backend that run."""

FIND_ENDS = Activity("find_ends", workspaces.LostRap, workspaces.RapFate)
"""How jobs ended whose RAP does not tell of them any more, from their own workflows."""

LOAD_WORKSPACE = Activity("load_workspace", workspaces.WorkspaceStart, workspaces.WorkspaceStart)
"""What a workspace that was lost knew, from the read model."""

# Local activities of the controller: the only writers of the read model.
RECORD_JOBS = Activity("record_jobs", rows.JobChanges, Acknowledged)
RECORD_BACKEND = Activity("record_backend", rows.BackendUpdate, Acknowledged)
END_RAP = Activity("end_rap", rows.RapEnding, rows.JobStates)
"""End the jobs of a RAP whose workflow is gone; answers with how all its jobs have ended."""

CLAIM_RAP = Activity("claim_rap", rows.Intent, rows.Intent)
"""Have a RAP's id belong to one workspace; the answer says to which."""

SETTLE_INTENT = Activity("settle_intent", rows.IntentSettlement, Acknowledged)

# Agent host queue.
RUN_JOB = Activity("run_job", models.JobDefinition, JobOutcome)

# Agent control queue.
TERMINATE_JOB = Activity("terminate_job", jobs.TerminateOrder, Acknowledged)
DISCARD_JOB = Activity("discard_job", jobs.DiscardOrder, Acknowledged)

# Queue of the backend: any of its agent hosts.
DATABASE_STATUS = Activity("database_status", checks.DatabaseStatusOrder, DatabaseStatusAnswer)
DATABASE_DATA_CHECK = Activity("database_data_check", checks.DataCheckOrder, DataCheckAnswer)
