"""The frozen models that cross a boundary between processes.

They are part of Temporal histories, so they only ever grow: a new field needs a default, and a
field is never renamed. What may leave a backend is in :mod:`rap.egress`; the messages between
workflows are in :mod:`rap.messages`; the rows of the read model are in :mod:`rap.rows`.

Times are seconds since the epoch in UTC; whole ones where the wire shows whole ones.
"""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rap import ids
from rap.deadlines import WORKSPACE_S

RUN_ALL = "run_all"
"""The magic action name for "every action of the project" (docs/spec/controller.md 6)."""

DEFAULT_DATABASE = "default"

IMAGE_REGISTRY = "ghcr.io/opensafely-core"
JOB_CPUS = 2.0
JOB_MEMORY = "4G"
LEVEL4_MAX_FILESIZE = 16 * 1024 * 1024
"""Bytes."""
LEVEL4_MAX_CSV_ROWS = 5000

INTERRUPTIONS_A_DAY = 3

ALLOWED_RUNTIMES = ("ehrql", "stata-mp", "r", "jupyter", "python", "sqlrunner")
"""Images that run as they are; any other name is a reusable action (docs/spec/controller.md 7)."""


class Model(BaseModel):
    """Base of every model that is stored in a history: frozen, and tolerant of newer fields."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class PrivacyLevel(StrEnum):
    """How sensitive an output is; decides who may read it (docs/spec/controller.md 6.2)."""

    HIGHLY_SENSITIVE = "highly_sensitive"
    MODERATELY_SENSITIVE = "moderately_sensitive"
    MINIMALLY_SENSITIVE = "minimally_sensitive"


class CreateRequest(Model):
    """A request to run actions of a study: a RAP (docs/spec/controller.md 5.1)."""

    rap_id: str
    backend: str
    workspace: str
    repo_url: str
    branch: str
    commit: str
    database_name: str = DEFAULT_DATABASE
    requested_actions: tuple[str, ...]
    codelists_ok: bool = True
    force_run_dependencies: bool = False
    created_by: str = ""
    project: str = ""
    orgs: tuple[str, ...] = ()
    analysis_scope: dict[str, Any] = Field(default_factory=dict)
    budget: float = WORKSPACE_S
    """Seconds for which the answer is waited for, from when the workspace takes the request."""
    number: int = 0
    """Which create of this RAP it is, by the read model; 0 where it was not announced there."""


class Study(Model):
    """The study a job belongs to; for a reusable action not the code that runs."""

    git_repo_url: str
    commit: str
    branch: str


class ProjectAction(Model):
    """One action of a ``project.yaml``, normalised (docs/spec/controller.md 6.4)."""

    name: str
    run_command: str
    """Shell text, words requoted, ``--config '<json>'`` appended when the action has a config."""
    needs: tuple[str, ...] = ()
    outputs: dict[PrivacyLevel, dict[str, str]]
    """Per privacy level: output name to glob pattern; only the levels in the file."""
    requires_db: bool = False


class JobLimits(Model):
    """What a job of a backend may use, and what may reach level 4
    (docs/spec/controller.md 14.2, 14.3).
    """

    cpu_count: float = JOB_CPUS
    memory_limit: str = JOB_MEMORY
    level4_max_filesize: int = LEVEL4_MAX_FILESIZE
    """Bytes."""
    level4_max_csv_rows: int = LEVEL4_MAX_CSV_ROWS
    level4_file_types: tuple[str, ...] = (
        *(".csv", ".html", ".jpeg", ".jpg", ".json", ".log", ".md", ".png", ".svg", ".svgz"),
        ".txt",
    )


class WeightRule(Model):
    """Names matched as a whole by a pattern, and what such a job takes of its pool."""

    pattern: str
    weight: float


class Weights(Model):
    """How many ordinary jobs a job of a backend counts for (docs/spec/controller.md 9.4)."""

    workspaces: dict[str, tuple[WeightRule, ...]] = Field(default_factory=dict)
    """Workspace to rules about action names; the first that matches decides."""
    default: tuple[WeightRule, ...] = ()
    """Rules about whole commands, for actions that no rule of their workspace matches."""

    def of_workspace(self, workspace: str) -> "Weights":
        """Only what matters to one workspace."""
        rules = self.workspaces.get(workspace)
        return Weights(workspaces={workspace: rules} if rules else {}, default=self.default)


class Project(Model):
    """A valid project file, with what the controller's configuration adds to its jobs."""

    actions: tuple[ProjectAction, ...]
    """In the order of the file."""
    limits: JobLimits = JobLimits()
    image_registry: str = IMAGE_REGISTRY
    pins_images: bool = False
    """Whether the tag of an image is resolved to a digest before each attempt."""
    interruptions_a_day: int = INTERRUPTIONS_A_DAY
    """How often within a day a job may be interrupted and start afresh."""
    job_env: dict[str, str] = Field(default_factory=dict)
    """Extra variables for database jobs of the workspace; never secrets
    (docs/spec/controller.md 10.3).
    """
    weights: Weights = Weights()
    unfinished: int = 0
    """Jobs of the backend that were not over when the project was read."""


class RefusalKind(StrEnum):
    """Why a request was refused; who has to mend it."""

    REQUEST = "request"
    REPOSITORY = "repository"
    GIT = "git"
    PROJECT = "project"
    REUSABLE_ACTION = "reusable_action"
    CODELISTS = "codelists"


LONGEST_REFUSAL = 4096
"""Bytes. A study chooses parts of the text, and it is kept in histories."""


def shortened(message: str) -> str:
    """A sentence for a client, its end cut off if a refusal cannot be so long."""
    encoded = message.encode("utf-8", "backslashreplace")
    if len(encoded) <= LONGEST_REFUSAL:
        return message
    return encoded[: LONGEST_REFUSAL - 3].decode("utf-8", "ignore") + "…"


class Refusal(Model):
    """A request that cannot be carried out, with the exact sentence for the client."""

    kind: RefusalKind
    message: str

    @field_validator("message")
    @classmethod
    def _of_bearable_length(cls, message: str) -> str:
        return shortened(message)


class ProjectAnswer(Model):
    """What became of reading a project: exactly one of the two is set."""

    project: Project | None = None
    refusal: Refusal | None = None


class JobSpec(Model):
    """A planned job: everything about it that never changes (docs/spec/controller.md 2.1)."""

    id: str
    rap_id: str
    action: str
    backend: str
    workspace: str
    study: Study
    run_command: str
    requires_db: bool
    database_name: str = DEFAULT_DATABASE
    requires_outputs_from: tuple[str, ...] = ()
    wait_for_job_ids: tuple[str, ...] = ()
    input_job_ids: tuple[str, ...] = ()
    """The job whose outputs each need is met by, in the order of the needs."""
    outputs: dict[PrivacyLevel, dict[str, str]]
    action_repo_url: str | None = None
    action_commit: str | None = None
    user: str = ""
    project: str = ""
    orgs: tuple[str, ...] = ()
    analysis_scope: dict[str, Any] = Field(default_factory=dict)
    created_at: int
    weight: float = 1.0
    trace_context: dict[str, str] = Field(default_factory=dict)


class BackendRequest(Model):
    """Ask something about a backend."""

    backend: str


class ImageRequest(Model):
    """Ask what an image's tag stands for now (docs/spec/controller.md 10.4)."""

    image: str
    """Full name with registry and tag."""


class ImageAnswer(Model):
    """The digest; ``None`` if the registry has no such image."""

    digest: str | None = None


class JobDefinition(Model):
    """One attempt at a job, as handed to the agent (docs/spec/controller.md 10.2,
    docs/spec/agent.md 2.4).
    """

    id: str
    rap_id: str
    task_id: str = ""
    repo_url: str
    commit: str
    study: Study
    workspace: str
    action: str
    created_at: int
    image: str
    """Full name with registry and tag."""
    image_sha: str | None = None
    """Content digest ``sha256:…``; ``None``: whatever the tag names on the host."""
    args: tuple[str, ...] = ()
    env: dict[str, str] = Field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    input_job_ids: tuple[str, ...] = ()
    output_spec: dict[str, PrivacyLevel] = Field(default_factory=dict)
    """Glob pattern to privacy level."""
    allow_database_access: bool = False
    database_name: str | None = None
    cpu_count: float | None = None
    memory_limit: str | None = None
    level4_max_filesize: int = LEVEL4_MAX_FILESIZE
    level4_max_csv_rows: int = LEVEL4_MAX_CSV_ROWS
    level4_file_types: tuple[str, ...] = (".csv",)
    user: str | None = None
    project: str = ""
    orgs: tuple[str, ...] = ()
    trace_context: dict[str, str] = Field(default_factory=dict)
    """Root of the job's trace, a W3C carrier."""
    backend: str = ""

    @property
    def attempt_name(self) -> str:
        """What this attempt's own folders and notes are called."""
        return ids.attempt_name(self.id, self.task_id)
