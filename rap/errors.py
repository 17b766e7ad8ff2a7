"""The exception tree, and what a reader is told about each fault.

::

    RapError                        has a sentence for its reader
    ├── RequestRefused              the client mends it; nothing was created; never retried
    ├── ConfigurationError          the operator mends it; the process does not start
    ├── Unavailable                 a service this process needs does not answer; retried
    │   └── RemoteAway              the remote of a repository does not answer, for now
    ├── NotFetched                  to be asked of a git that fetches
    ├── GitError                    the answer is no; its text is fit for a client
    │   ├── RepositoryRefused       the remote has no such repository, or not for us
    │   ├── UnknownRef              no branch or tag of that name
    │   └── FileNotInRepository     no such file at that commit
    └── JobFault                    an attempt at a job cannot go on; raised inside an agent only
        ├── PermanentFault          trying again would not help: the job fails
        └── TransientFault          tried again, first at once by the agent, then as a new attempt

A :class:`JobFault` never crosses the boundary of a backend: its :class:`~rap.egress.Fault` does,
as part of a result, and the sentence is looked up outside. The detail stays in the agent's log.

This module loads no model, so that the command line can name errors and still start at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rap.egress import Fault
    from rap.models import Refusal, RefusalKind


class RapError(Exception):
    """Base of our errors; its text is a sentence written for its reader."""


class RequestRefused(RapError):
    """A request that cannot be carried out as it stands (docs/spec/controller.md 5.9)."""

    def __init__(self, kind: RefusalKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    @property
    def refusal(self) -> Refusal:
        """The same as a value, for a result."""
        from rap.models import Refusal

        return Refusal(kind=self.kind, message=str(self))


class ConfigurationError(RapError):
    """A setting is missing or wrong; the text names it and the remedy."""


class Unavailable(RapError):
    """Temporal, Docker or the read model does not answer; the text says which and what to do."""


class RemoteAway(Unavailable):
    """The remote of a repository did not answer, or not with what will stay its answer: a time
    limit, DNS, TLS, a connection that broke, 5xx. The text shows the original URL, never a token.
    """


class NotFetched(RapError):
    """A commit would have to be fetched by a git that does not fetch."""


class GitError(RapError):
    """What was asked of git is not there (docs/spec/controller.md 13), as the remote or our copy
    says; the text shows the original URL, never a token.
    """


class RepositoryRefused(GitError):
    """The remote answered that it has no such repository, or none that we may read."""


class UnknownRef(GitError):
    """The remote has no such branch or tag."""


class FileNotInRepository(GitError):
    """The commit holds no such file."""


class JobFault(RapError):
    """An attempt at a job cannot go on. The text may name files: it stays inside the backend."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault


class PermanentFault(JobFault):
    """The job fails with the sentence of its fault."""


class TransientFault(JobFault):
    """The attempt is given up for now and may be tried again."""
