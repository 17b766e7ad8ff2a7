"""The door of the backend: only egress types leave (docs/explanation/architecture.md, Trust).

What an activity returns, raises or heartbeats becomes history in another building. Whatever else it
tries to send is stopped here, and stays in the agent's own log.
"""

import asyncio
from datetime import timedelta
from typing import Any

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory, CancelledError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

from rap.egress import Acknowledged, DatabaseStatusAnswer, DataCheckAnswer, JobOutcome, JobProgress

log = structlog.get_logger()

RESTART = "AgentRestart"
RETRY_DELAY = 0.1
"""Seconds after which an activity that was given back is handed out again."""
RESULTS = (JobOutcome, DatabaseStatusAnswer, DataCheckAnswer, Acknowledged)
HEARTBEATS = (JobProgress,)


class AgentRestart(ApplicationError):
    """The agent gives an activity back: it goes on where it is, in the next agent process."""

    def __init__(self, delay: float) -> None:
        super().__init__(
            RESTART,
            type=RESTART,
            next_retry_delay=timedelta(seconds=delay),
            # Nothing is wrong: it is neither logged nor counted as a failure.
            category=ApplicationErrorCategory.BENIGN,
        )


class EgressGuard(Interceptor):
    """Puts the guard around every activity of a worker."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Called by the SDK once per activity."""
        return _Inbound(next)


class _Inbound(ActivityInboundInterceptor):
    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401
        try:
            result = await super().execute_activity(input)
        except (AgentRestart, asyncio.CancelledError, CancelledError):
            raise
        except Exception as error:
            name = type(error).__name__
            log.exception("an activity failed", activity=activity.info().activity_type)
            failure = ApplicationError(name, type=name)
        else:
            if type(result) in RESULTS:
                return result
            log.error(f"an activity returned {type(result).__name__}, which may not leave")
            failure = ApplicationError("Refused", type="EgressRefused", non_retryable=True)
        # Raised out here, so that the original is neither its cause nor its context.
        raise failure


class _Outbound(ActivityOutboundInterceptor):
    def heartbeat(self, *details: Any) -> None:  # noqa: ANN401
        if all(type(detail) in HEARTBEATS for detail in details):
            super().heartbeat(*details)
        else:
            log.error("a heartbeat carried what may not leave, and was sent without it")
            super().heartbeat()
