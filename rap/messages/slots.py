"""What RAPs and backends say to each other about worker slots."""

from rap.models import Model, Weights


class SlotRequest(Model):
    """A job that is ready to run asks for a worker slot."""

    job_id: str
    workspace: str
    requires_db: bool
    weight: float = 1.0
    created_at: int
    position: int = 0
    """Place in its RAP: the tie-break among jobs of one second."""
    attempt: int
    action: str = ""
    """Its safe name: what the id of the job's workflow has, and what people are shown."""
    image: str = ""
    """The key of its image (:func:`rap.ids.image_key`); empty: not known."""


class SlotHold(Model):
    """A job that runs in a slot."""

    request: SlotRequest
    host: str


class SlotDelta(Model):
    """Everything about slots that became due in one workflow task of a RAP."""

    rap_id: str
    requests: tuple[SlotRequest, ...] = ()
    releases: tuple[str, ...] = ()
    """Job ids that run no more, or wait no more."""
    holds: tuple[SlotHold, ...] = ()
    """In an announcement: the slots that the RAP uses."""
    complete: bool = False
    """Set in an announcement: the RAP has no other jobs in slots or waiting for one."""


class Announce(Model):
    """Ask a RAP to say which of its jobs use a slot and which wait for one."""


class Reweigh(Model):
    """The weights of a backend's jobs have changed: what waits is to be weighed again."""

    weights: Weights


class SlotGrant(Model):
    """A job may run, and where."""

    job_id: str
    attempt: int
    host: str


class SlotGrants(Model):
    """All slots granted to one RAP in one workflow task of the backend."""

    grants: tuple[SlotGrant, ...]


class PassedOver(Model):
    """How often the waiting jobs of a workspace saw a slot of their pool go to others."""

    workspace: str
    requires_db: bool
    times: int


class Reservation(Model):
    """A job that waits for a slot of a backend, or holds one."""

    rap_id: str
    request: SlotRequest
    since: float
    host: str | None = None
    """Where the job runs; ``None`` while it waits."""
