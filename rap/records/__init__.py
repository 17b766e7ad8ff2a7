"""The read model: what readers know of jobs and backends (architecture.md 2.5).

A projection of Temporal's histories for fast and lasting answers. Workflows write it through local
activities, the API announces its creates in it, everybody reads it; no decision is taken from it.
"""

from rap.records.store import Records, UnknownJob
from rap.records.tables import Move, StoredJob, TracedJob

__all__ = ["Move", "Records", "StoredJob", "TracedJob", "UnknownJob"]
