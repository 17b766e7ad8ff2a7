"""The read model: what readers know of jobs and backends (docs/explanation/architecture.md).

A projection of Temporal's histories for fast and lasting answers. Workflows write it through local
activities, the API announces its creates in it, everybody reads it; no decision is taken from it.
"""

from rap.records.history import History
from rap.records.status_reads import StatusReads
from rap.records.writes import UnknownJob, Writes
from rap.stored_jobs import Move, StoredJob

__all__ = ["Move", "Records", "StoredJob", "UnknownJob"]


class Records(StatusReads, History, Writes):
    """The read model in one database. Safe to use from several threads and processes.

    Every method is one transaction and may block for some milliseconds, at worst for the seconds
    that another writer takes.

    Raises:
        Unavailable: (any method) the database does not answer, or has no tables yet.
    """
