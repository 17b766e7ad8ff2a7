"""The workflows, and the signals, updates and queries that each of them takes."""

from types import NoneType

from rap.contracts.kinds import Query, Signal, Update, Workflow
from rap.egress import AgentReport, DatabaseStatusAnswer, DataCheckAnswer
from rap.messages import backends, checks, jobs, orders, slots, workspaces
from rap.models import CreateRequest
from rap.rows import BackendRow, JobChanges
from rap.status import StatusCode

WORKSPACE = Workflow("WorkspaceWorkflow", workspaces.WorkspaceStart, NoneType)
CREATE_RAP = Update(WORKSPACE, "create_rap", CreateRequest, workspaces.CreateAnswer)
SETTLE_RAP = Update(WORKSPACE, "settle_rap", workspaces.SettleRequest, workspaces.SettleAnswer)
CANCEL_JOBS = Update(WORKSPACE, "cancel_jobs", workspaces.CancelRequest, workspaces.CancelAnswer)
JOBS_FINISHED = Signal(WORKSPACE, "jobs_finished", workspaces.JobsFinished)
RAP_LOST = Signal(WORKSPACE, "rap_lost", workspaces.RapLost)
CURRENT_JOBS = Query(WORKSPACE, "current_jobs", dict[str, workspaces.KnownJob])

RAP = Workflow("RapWorkflow", workspaces.RapStart, workspaces.RapEnd)
CANCEL = Signal(RAP, "cancel", workspaces.CancelOrder)
GRANTED = Signal(RAP, "granted", slots.SlotGrants)
DEPENDENCIES_FINISHED = Signal(RAP, "dependencies_finished", workspaces.JobsFinished)
REWEIGH = Signal(RAP, "reweigh", slots.Reweigh)
ANNOUNCE = Signal(RAP, "announce", slots.Announce)
RAP_HOST_LOST = Signal(RAP, "host_lost", orders.LostHost)
RAP_STATUS = Query(RAP, "status", dict[str, StatusCode])
RAP_ROWS = Query(RAP, "rows", JobChanges)
"""The rows of all jobs, as they would have to be written had none been; also when it has closed."""

JOB = Workflow("JobWorkflow", jobs.JobAttempt, jobs.AttemptResult)
"""One attempt at a job; the name is older than the attempts."""
STOP = Signal(JOB, "stop", jobs.StopOrder)
ATTEMPT = Query(JOB, "attempt", jobs.JobAttempt)

CLEAN_UP = Workflow("CleanUpWorkflow", jobs.JobAttempt, NoneType)

BACKEND = Workflow("BackendWorkflow", backends.BackendStart, NoneType)
SLOTS = Signal(BACKEND, "slots", slots.SlotDelta)
REPORT = Signal(BACKEND, "report", AgentReport)
CONFIGURE = Signal(BACKEND, "configure", backends.BackendLimits)
DATABASE_MODE = Signal(BACKEND, "database_mode", orders.DatabaseMode)
WINDOW = Signal(BACKEND, "window", orders.WindowOrder)
BACKEND_STATE = Query(BACKEND, "state", BackendRow)
# Orders of operators: part of the interface for people, who send them from the Web UI as well.
PAUSE = Signal(BACKEND, "pause", orders.Switch)
DATABASE_MAINTENANCE = Signal(BACKEND, "database_maintenance", orders.Switch)
PREPARE_FOR_REBOOT = Signal(BACKEND, "prepare_for_reboot", orders.RebootOrder)
LIMITS = Signal(BACKEND, "limits", orders.LimitsOrder)
PRIORITISE = Signal(BACKEND, "prioritise", orders.PriorityOrder)
HOST_LOST = Signal(BACKEND, "host_lost", orders.LostHost)

STATUS_CHECK = Workflow("DatabaseStatusWorkflow", checks.DatabaseCheck, DatabaseStatusAnswer)
DATA_CHECK = Workflow("DatabaseDataCheckWorkflow", checks.DatabaseCheck, DataCheckAnswer)
MAINTENANCE_WINDOW = Workflow("MaintenanceWindowWorkflow", orders.Window, NoneType)
