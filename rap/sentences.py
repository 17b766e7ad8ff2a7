"""The sentences that a job's status shows its reader. Pure.

The agent writes these sentences into the job's own record, the controller into the job's status;
both know only numbers, so both say the same.
"""

from collections.abc import Collection

from rap.durations import exactly
from rap.egress import ExitNote, Fault, Interruption
from rap.status import RUNNING_CODES, StatusCode

CODE_SENTENCES = {
    **dict.fromkeys(RUNNING_CODES, "Job executing on the backend"),
    StatusCode.CREATED: "Created",
    StatusCode.WAITING_PAUSED: (
        "Backend is currently paused for maintenance, job will start once this is completed"
    ),
    StatusCode.WAITING_DB_MAINTENANCE: "Waiting for database to finish maintenance",
    StatusCode.WAITING_ON_DEPENDENCIES: "Waiting on dependencies",
    StatusCode.WAITING_ON_WORKERS: "Waiting on available workers",
    StatusCode.WAITING_ON_DB_WORKERS: "Waiting on available database workers",
    StatusCode.WAITING_ON_REBOOT: "Job restarted - waiting for server to reboot",
    StatusCode.WAITING_ON_NEW_TASK: (
        "This job returned an error that could be retried with a new task."
    ),
    StatusCode.SUCCEEDED: "Completed successfully",
    StatusCode.DEPENDENCY_FAILED: "Not starting as dependency failed",
    StatusCode.NONZERO_EXIT: "Job exited with an error",
    StatusCode.CANCELLED_BY_USER: "Cancelled by user",
    StatusCode.UNMATCHED_PATTERNS: (
        "Outputs matching expected patterns were not found. See job log for details."
    ),
    StatusCode.INTERNAL_ERROR: (
        "Internal error: this usually means a platform issue rather than a problem for users "
        "to fix.\nThe tech team are automatically notified of these errors and will be "
        "investigating."
    ),
    StatusCode.KILLED_BY_ADMIN: "Job killed by an OpenSAFELY administrator",
    StatusCode.STALE_CODELISTS: "Codelists are out of date",
    StatusCode.JOB_ERROR: "This job returned a fatal error.",
}
"""What is shown with each code when nothing more particular is known
(docs/spec/controller.md 3.2).
"""

SUCCEEDED_WITH_EXCLUDED_FILES = (
    "Completed successfully, but some file(s) marked as moderately_sensitive were excluded. "
    "See job log for details."
)
WAITING_HEAVY = "Waiting on available workers for resource intensive job"


def exit_sentence(
    note: ExitNote, *, memory_limit_bytes: int | None = None, run_time_limit_s: float | None = None
) -> str:
    """The sentence for a note, with the limit that was hit if it is known."""
    if note is ExitNote.OUT_OF_MEMORY:
        if not memory_limit_bytes:
            return "Job ran out of memory"
        return f"Job ran out of memory (limit was {memory_limit_bytes / 1024**3:.2f}GB)"
    if note is ExitNote.OUT_OF_TIME:
        if not run_time_limit_s:
            return "Job ran longer than this backend allows"
        return f"Job ran longer than this backend allows (limit was {exactly(run_time_limit_s)})"
    return "Job killed by OpenSAFELY admin or memory limits"


FAULT_SENTENCES: dict[Fault, str] = {
    Fault.REPOSITORY_REFUSED: (
        "The backend refused the repository, branch or commit; please check that the commit is "
        "on the branch and that the repository belongs to an allowed organisation."
    ),
    Fault.COMMIT_UNAVAILABLE: "The code for this job could not be fetched.",
    Fault.GIT_UNREACHABLE: "The code repository could not be reached from the backend.",
    Fault.WORKSPACE_ARCHIVED: (
        "The workspace has been archived. Contact the OpenSAFELY tech team to resolve"
    ),
    Fault.IMAGE_UNAVAILABLE: (
        "The image for this job is not available on the backend; please check its name and version."
    ),
    Fault.IMAGE_PULL_FAILED: "The image for this job could not be pulled.",
    Fault.INPUT_MISSING: (
        "A file that this job needs from an earlier job is no longer in the workspace; please run "
        "the action that makes it again."
    ),
    Fault.INPUT_RECORD_MISSING: (
        "The backend has no record of the outputs of an earlier job that this one needs; please "
        "run that action again."
    ),
    Fault.DATABASE_NOT_CONFIGURED: "The database is not configured on this backend.",
    Fault.DATABASE_NETWORK_MISSING: "The database network is not available on this backend.",
    Fault.DISK_FULL: "The backend has run out of disk space.",
    Fault.DISK_READ_ONLY: "A disk of the backend cannot be written to.",
    Fault.CONTAINER_REFUSED: "The container for this job could not be started.",
    Fault.OUTPUT_PATH_REFUSED: (
        "An output path of this action could name something other than a file that the job makes "
        "in its workspace; please correct the outputs of the action in project.yaml."
    ),
    Fault.OUTPUTS_REFUSED: (
        "The outputs of this job could not be kept safely. See job log for details."
    ),
    Fault.ENGINE_UNAVAILABLE: "The container engine of the backend does not answer.",
    Fault.OTHER_STORAGE: "The host has not the files of the backend's other hosts.",
    Fault.CHECK_FAILED: "The program of the database check ended with an error.",
    Fault.CHECK_OUT_OF_TIME: "The program of the database check took too long and was stopped.",
    Fault.CHECK_ANSWER_REFUSED: "The answer of the database check is none of the allowed ones.",
    Fault.UNEXPECTED: "The tech team can find the cause in the backend's log.",
}


CLOSED_SENTENCES: dict[Fault, str] = {
    Fault.ENGINE_UNAVAILABLE: "its container engine does not answer",
    Fault.DISK_FULL: "it has run out of disk space",
    Fault.DISK_READ_ONLY: "a disk of it cannot be written to",
    Fault.DATABASE_NETWORK_MISSING: "its database cannot be reached",
    Fault.OTHER_STORAGE: "its hosts have not the same files",
}
"""What keeps a backend from starting jobs, as a part of a sentence about it."""


OTHER_STORAGE_REMEDY = (
    "This host has a storage of its own, so it would not find the inputs of jobs that ran on the "
    "backend's other host, and gets no jobs. Let both use one high and one medium privacy storage, "
    "or stop its agent. To have it replace the other host, stop that one's agent and tell: "
    "rap backend host-lost."
)
"""Why a second host is refused, for operators."""


def closed_sentence(faults: Collection[Fault]) -> str:
    """Why a backend starts no jobs, or none of a kind; empty if it does."""
    reasons = [CLOSED_SENTENCES.get(fault, fault.value) for fault in faults]
    return f"the backend cannot start it now: {' and '.join(reasons)}" if reasons else ""


def returned_sentence(fault: Fault) -> str:
    """What is shown of a job that a host gave back before its program was started."""
    return (
        f"The backend could not start this job, and will by itself as soon as it can. "
        f"{FAULT_SENTENCES[fault]}"
    )


INTERRUPTION_SENTENCES = {
    Interruption.HOST_REBOOTED: "The backend's server was restarted while the job ran.",
    Interruption.ENGINE_RESTARTED: (
        "The container engine of the backend was restarted while the job ran."
    ),
    Interruption.CONTAINER_REMOVED: "The container of the job was removed while it ran.",
    Interruption.VOLUME_GONE: "The files of the job were deleted while it ran.",
}
"""What interrupted an attempt."""


def interruption_sentence(by: Interruption | None) -> str:
    """What interrupted an attempt, if this version knows."""
    if by is None:
        return "The backend lost what the job ran on."
    return INTERRUPTION_SENTENCES[by]


def interrupted_sentence(by: Interruption | None, attempt: int) -> str:
    """What is shown while an interrupted job waits for its next attempt."""
    return _lost(interruption_sentence(by), attempt)


def lost_host_sentence(attempt: int) -> str:
    """The same for a job whose host was declared lost."""
    return _lost("The backend's server that had the job was lost.", attempt)


def _lost(reason: str, attempt: int) -> str:
    return (
        f"{reason} Attempt {attempt} was lost through no fault of its own; attempt {attempt + 1} "
        "begins afresh as soon as a worker is available."
    )


def retried_sentence(fault: Fault, attempt: int) -> str:
    """What is shown while a job waits for its next attempt after a fault that may pass."""
    return (
        f"{CODE_SENTENCES[StatusCode.WAITING_ON_NEW_TASK]} {FAULT_SENTENCES[fault]} "
        f"Attempt {attempt + 1} follows."
    )


def too_often_interrupted(by: Interruption | None, times: int) -> str:
    """The end of a job that seems to bring down what it runs on."""
    return (
        f"{CODE_SENTENCES[StatusCode.JOB_ERROR]} It was interrupted {times} times within a day, "
        f"the last time because of this: {interruption_sentence(by)} It may itself be what brings "
        "the backend down; please contact the OpenSAFELY tech team before you run it again."
    )


DATABASE_EXIT_CODES = {
    2: (
        "There was a problem with the command line arguments in your ehrQL action; please confirm "
        "that it runs locally"
    ),
    3: (
        "A transient database error occurred, your job may run if you try it again, if it keeps "
        "failing then contact tech support"
    ),
    4: "New data is being imported into the database, please try again in a few hours",
    5: "Something went wrong with the database, please contact tech support",
    6: (
        "Your ehrQL is valid but it produced SQL which is too complex for the database to run; "
        "please contact tech-support so we can help you simplify it."
    ),
    10: "There was a problem reading your ehrQL code; please confirm that it runs locally",
    11: "There was a problem reading one of the supplied data files",
    12: "You do not have the required permissions for the ehrQL you are trying to run",
    13: "Assurance tests failed; please confirm the tests pass locally",
    14: (
        "Your job was making such slow progress that it was unlikely to complete successfully; "
        "please contact tech support so we can help you to simplify it."
    ),
}
"""The sentences of docs/spec/controller.md 11.3, for database jobs only."""
