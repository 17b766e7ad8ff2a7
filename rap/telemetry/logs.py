"""Logs: one line per event, with the job it is about (docs/spec/controller.md 16.4,
docs/spec/agent.md 14.3).
"""

import logging
import logging.handlers
import subprocess
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from rap.errors import ConfigurationError

TAGS = ("backend", "status", "workspace", "action", "rap", "id", "task", "task_type")
"""Tags in the order of the line; others follow in the order they were given."""

DAYS_KEPT = 14
"""Old files of the second log."""


def configure(level: str = "INFO", *, debug_file: str = "") -> None:
    """Send our logs, and those of libraries, to stderr in the product's line format.

    A ``debug_file`` gets everything, whatever ``level`` is the least to be shown; at midnight (UTC)
    it is begun afresh, and two weeks are kept.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S.%f", utc=True),
        _with_stderr,
        structlog.processors.format_exc_info,
        structlog.processors.UnicodeDecoder(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.DEBUG if debug_file else logging.getLevelName(level.upper())
        ),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _line],
    )
    shown = logging.StreamHandler(sys.stderr)
    shown.setLevel(level.upper())
    handlers: list[logging.Handler] = [shown]
    if debug_file:
        handlers.append(_debug_log(debug_file))
    for handler in handlers:
        handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = handlers
    root.setLevel(logging.DEBUG if debug_file else level.upper())
    if debug_file:
        root.info("Writing DEBUG logs to '%s'", debug_file)
    for noisy in ("httpx", "httpcore", "urllib3", "docker", "alembic", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _debug_log(path: str) -> logging.Handler:
    try:
        handler = logging.handlers.TimedRotatingFileHandler(
            path, when="midnight", utc=True, backupCount=DAYS_KEPT, encoding="utf-8"
        )
    except OSError as error:
        raise ConfigurationError(
            f"DEBUG_LOG_FILE must be a file that can be written, not {path}: {error.strerror}"
        ) from None
    handler.setLevel(logging.DEBUG)
    return handler


def _with_stderr(
    _logger: Any,  # noqa: ANN401
    _method: str,
    event: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    """Keep what a failed program said, which a traceback does not show."""
    shown = event.get("exc_info")
    error = shown if isinstance(shown, BaseException) else None
    if error is None and shown:
        error = shown[1] if isinstance(shown, tuple) else sys.exc_info()[1]
    while error is not None:
        if isinstance(error, subprocess.CalledProcessError | subprocess.TimeoutExpired):
            said = error.stderr or b""
            text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
            if text.strip():
                event["stderr"] = text.rstrip("\n")
                break
        error = error.__cause__ or error.__context__
    return event


def _line(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:  # noqa: ANN401
    """Render ``<UTC time>Z <message> <tags>``, and the traceback below it."""
    moment = str(event.pop("timestamp", ""))[:-3]
    message = event.pop("event", "")
    level = str(event.pop("level", "info"))
    trace = event.pop("exception", None)
    stderr = event.pop("stderr", None)
    tags = [f"{name}={event.pop(name)}" for name in TAGS if name in event]
    tags += [f"{name}={value}" for name, value in event.items() if not name.startswith("_")]
    shout = f"{level.upper()}: " if level in ("warning", "error", "critical") else ""
    line = " ".join([f"{moment}Z {shout}{message}", *tags])
    if trace:
        line = f"{line}\n{trace}"
    return f"{line}\n\nstderr:\n\n{stderr}" if stderr else line
