"""The exception tree, and what a reader is told about each fault.

::

    RapError                        has a sentence for its reader
    ├── RequestRefused              the client mends it; nothing was created; never retried
    ├── ConfigurationError          the operator mends it; the process does not start
    ├── Unavailable                 a service this process needs does not answer; retried
    ├── GitError                    git could not do what was asked; its text is fit for a client
    │   ├── RepositoryUnreachable   the remote does not answer, or does not exist
    │   ├── UnknownRef              no branch or tag of that name
    │   ├── FileNotInRepository     no such file at that commit
    │   └── GitNetworkError         a transient network failure outlasted the retries
    └── JobFault                    an attempt at a job cannot go on; raised inside an agent only
        ├── PermanentFault          trying again would not help: the job fails
        └── TransientFault          tried again, first at once by the agent, then as a new attempt

A :class:`JobFault` never crosses the boundary of a backend: its :class:`~rap.egress.Fault` does,
as part of a result, and the sentence is looked up outside. The detail stays in the agent's log.
"""

from rap.egress import Fault
from rap.models import Refusal, RefusalKind


class RapError(Exception):
    """Base of our errors; its text is a sentence written for its reader."""


class RequestRefused(RapError):
    """A request that cannot be carried out as it stands (controller.md 5.9)."""

    def __init__(self, kind: RefusalKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    @property
    def refusal(self) -> Refusal:
        """The same as a value, for a result."""
        return Refusal(kind=self.kind, message=str(self))


class ConfigurationError(RapError):
    """A setting is missing or wrong; the text names it and the remedy."""


class Unavailable(RapError):
    """Temporal, Docker or the read model does not answer; the text says which and what to do."""


class GitError(RapError):
    """A git operation failed (controller.md 13); the text shows the original URL, never a token."""


class RepositoryUnreachable(GitError):
    """The remote repository cannot be read."""


class UnknownRef(GitError):
    """The remote has no such branch or tag."""


class FileNotInRepository(GitError):
    """The commit holds no such file."""


class GitNetworkError(GitError):
    """Fetching kept failing for reasons that usually pass; trying later may work."""


class JobFault(RapError):
    """An attempt at a job cannot go on. The text may name files: it stays inside the backend."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault


class PermanentFault(JobFault):
    """The job fails with the sentence of its fault."""


class TransientFault(JobFault):
    """The attempt is given up for now and may be tried again."""


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
    Fault.CONTAINER_REFUSED: "The container for this job could not be started.",
    Fault.OUTPUT_PATH_REFUSED: (
        "An output path of this action could name something other than a file that the job makes "
        "in its workspace; please correct the outputs of the action in project.yaml."
    ),
    Fault.OUTPUTS_REFUSED: (
        "The outputs of this job could not be kept safely. See job log for details."
    ),
    Fault.ENGINE_UNAVAILABLE: "The container engine of the backend does not answer.",
    Fault.CHECK_FAILED: "The program of the database check ended with an error.",
    Fault.CHECK_OUT_OF_TIME: "The program of the database check took too long and was stopped.",
    Fault.CHECK_ANSWER_REFUSED: "The answer of the database check is none of the allowed ones.",
    Fault.UNEXPECTED: "The tech team can find the cause in the backend's log.",
}

TRANSIENT_FAULTS = frozenset(
    {
        Fault.GIT_UNREACHABLE,
        Fault.IMAGE_PULL_FAILED,
        Fault.DATABASE_NETWORK_MISSING,
        Fault.DISK_FULL,
        Fault.CONTAINER_REFUSED,
        Fault.ENGINE_UNAVAILABLE,
        Fault.UNEXPECTED,
    }
)
"""Faults after which a new attempt may succeed without anybody changing the request."""
