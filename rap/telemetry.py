"""Logs: one line per event, with the job it is about (controller.md 16.4, agent.md 14.3)."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

TAGS = ("backend", "workspace", "action", "rap", "id", "task", "status")
"""Tags in the order of the line; others follow in the order they were given."""


def configure(level: str = "INFO") -> None:
    """Send our logs, and those of libraries, to stderr in the product's line format."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S.%f", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.UnicodeDecoder(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _line],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for noisy in ("httpx", "httpcore", "urllib3", "docker", "alembic", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _line(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:  # noqa: ANN401
    """Render ``<UTC time>Z <message> <tags>``, and the traceback below it."""
    moment = str(event.pop("timestamp", ""))[:-3]
    message = event.pop("event", "")
    level = str(event.pop("level", "info"))
    trace = event.pop("exception", None)
    tags = [f"{name}={event.pop(name)}" for name in TAGS if name in event]
    tags += [f"{name}={value}" for name, value in event.items() if not name.startswith("_")]
    shout = f"{level.upper()}: " if level in ("warning", "error", "critical") else ""
    line = " ".join([f"{moment}Z {shout}{message}", *tags])
    return f"{line}\n{trace}" if trace else line
