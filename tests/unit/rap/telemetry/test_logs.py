"""The lines of the log (docs/spec/controller.md 16.4)."""

import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from logging.handlers import TimedRotatingFileHandler
from pathlib import Path
from typing import Any

import pytest
import structlog

from rap.errors import ConfigurationError
from rap.telemetry import logs

pytestmark = pytest.mark.unit

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers, root.level
    yield
    for handler in root.handlers:
        if handler not in before:
            handler.close()
    root.handlers = before
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def read() -> str:
        return capsys.readouterr().err

    return read


@pytest.mark.spec("controller:209")
def test_a_line_is_the_time_the_message_and_the_known_tags_in_their_order(
    lines: Callable[..., Any],
) -> None:
    logs.configure()
    tags = {"task_type": "RUNJOB", "task": "j-001", "id": "j", "action": "a", "workspace": "w"}
    structlog.get_logger().info("hello", other=1, **tags, status="created")
    said = "hello status=created workspace=w action=a id=j task=j-001 task_type=RUNJOB other=1"
    assert re.fullmatch(f"{TIME} {said}\n", lines())


def test_tags_of_the_job_at_hand_are_on_every_line_about_it_and_on_those_of_libraries(
    lines: Callable[..., Any],
) -> None:
    logs.configure()
    structlog.contextvars.bind_contextvars(id="j")
    structlog.get_logger().info("ours")
    logging.getLogger("library").warning("theirs")
    structlog.contextvars.unbind_contextvars("id")
    structlog.get_logger().info("after")
    assert [line.split("Z ", 1)[1] for line in lines().splitlines()] == [
        "ours id=j",
        "WARNING: theirs id=j",
        "after",
    ]


@pytest.mark.spec("controller:209")
@pytest.mark.parametrize("wrapped", [False, True])
def test_what_a_failed_program_said_follows_its_traceback(
    lines: Callable[..., Any], wrapped: bool
) -> None:
    logs.configure()
    program = "import sys; print('it is broken', file=sys.stderr); sys.exit(3)"
    try:
        try:
            subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
        except subprocess.CalledProcessError as error:
            if not wrapped:
                raise
            raise RuntimeError("wrapped") from error
    except (RuntimeError, subprocess.CalledProcessError):
        structlog.get_logger().exception("a program failed")
    said = lines()
    assert "Traceback" in said
    assert said.endswith("\n\nstderr:\n\nit is broken\n")


def test_a_program_that_said_nothing_leaves_no_block(lines: Callable[..., Any]) -> None:
    logs.configure()
    try:
        subprocess.run([sys.executable, "-c", "raise SystemExit(1)"], check=True, text=True)
    except subprocess.CalledProcessError:
        logging.getLogger("library").exception("a program failed")
    said = lines()
    assert "CalledProcessError" in said
    assert "stderr:" not in said


def test_a_second_log_holds_everything_and_the_first_what_it_always_held(
    lines: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "debug.log"
    logs.configure("WARNING", debug_file=str(path))
    structlog.get_logger().debug("a detail", id="j")
    structlog.get_logger().warning("a warning")
    assert [line.split("Z ", 1)[1] for line in lines().splitlines()] == ["WARNING: a warning"]
    text = path.read_text()
    assert f"Writing DEBUG logs to '{path}'" in text
    assert "a detail id=j" in text
    assert "a warning" in text
    (handler,) = [h for h in logging.getLogger().handlers if h.level == logging.DEBUG]
    assert isinstance(handler, TimedRotatingFileHandler)
    assert (handler.when, handler.utc, handler.backupCount) == ("MIDNIGHT", True, 14)


def test_a_second_log_that_cannot_be_written_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="DEBUG_LOG_FILE must be a file"):
        logs.configure(debug_file=str(tmp_path / "no" / "such" / "folder.log"))
