"""The project file: the one place that knows the pipeline library (docs/spec/controller.md 6).

The library's rules and texts are those that study authors see in their own checks, so they are
passed on as they are. What it does not foresee is told here, in sentences of the same form.
"""

import importlib.util
import json
import shlex
import sys
import warnings
from typing import Any

from rap.errors import RequestRefused
from rap.models import PrivacyLevel, ProjectAction, RefusalKind
from rap.safe_names import LONGEST_NAME, visible, what_misleads
from rap.yaml_limits import StandsForTooMuch, check_limits

try:
    # The stand-alone package, where it is installed …
    from pipeline import load_pipeline
    from pipeline.exceptions import ProjectValidationError, YAMLError
    from pipeline.loading import parse_yaml_file
    from pipeline.models import is_database_action
except ImportError:
    # … and otherwise the copy inside OpenSAFELY's command line. That package itself is not run: it
    # takes a second, and it reads settings that are named like ours.
    _found = importlib.util.find_spec("opensafely")
    if _found is not None and "opensafely" not in sys.modules:
        sys.modules["opensafely"] = importlib.util.module_from_spec(_found)
    from opensafely._vendor.pipeline import load_pipeline
    from opensafely._vendor.pipeline.exceptions import ProjectValidationError, YAMLError
    from opensafely._vendor.pipeline.loading import parse_yaml_file
    from opensafely._vendor.pipeline.models import is_database_action

__all__ = [
    "LARGEST_FILE",
    "LATEST_VERSION",
    "YAMLError",
    "is_database_command",
    "parse_project",
    "parse_yaml",
]

LATEST_VERSION = 5
LARGEST_FILE = 4 * 1024 * 1024
"""Bytes; 5,000 actions with commands of 400 come to three quarters of it."""
_LARGEST_CONFIG = 128 * 1024
_LONGEST_COMMAND = 128 * 1024
"""Characters; the kernel takes no longer argument."""


def parse_project(text: bytes) -> tuple[ProjectAction, ...]:
    """Read and check a ``project.yaml``; its actions in the order of the file.

    Not for threads, since the library's parser keeps state. Takes whatever processor and memory the
    text makes it take: a process that has other things to do asks :mod:`rap.project_reader`.

    Raises:
        RequestRefused: the text tells the author of the study what is wrong; ``kind`` is
            ``PROJECT``.
        MemoryError: what the process may have is too little for the text.
    """
    if len(text) > LARGEST_FILE:
        raise _invalid("The file is too large")
    if b"\0" in text:
        raise _invalid("The file contains a NUL character, which no text may")
    try:
        check_limits(text)
        # Its warnings are about old versions, for authors at their own machine.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pipeline = load_pipeline(text)
    except StandsForTooMuch as error:
        raise _invalid(str(error)) from error
    except ProjectValidationError as error:
        lines = (visible(line) for line in str(error).split("\n"))
        raise RequestRefused(RefusalKind.PROJECT, "\n".join(lines)) from error
    except RecursionError as error:
        raise _invalid("The file is nested too deeply") from error
    except MemoryError:
        raise
    except Exception as error:  # a study must not choose which errors of the library are foreseen
        raise _invalid(_what_is_wrong(text)) from error
    return tuple(_action(str(name), action) for name, action in pipeline.actions.items())


def _action(name: str, action: Any) -> ProjectAction:  # noqa: ANN401 - the library is untyped
    if reason := what_misleads(name):
        raise _invalid(f"The name of action '{visible(name)[:LONGEST_NAME]}' {reason}")
    # Each look at them splits the command again, which is half of what reading a project costs.
    words: list[str] = action.run.parts
    return ProjectAction(
        name=name,
        run_command=_command(name, words, action.config),
        needs=tuple(str(need) for need in action.needs),
        outputs={
            PrivacyLevel(level): {str(key): pattern for key, pattern in patterns.items()}
            for level, patterns in action.outputs.dict().items()
        },
        requires_db=is_database_command(words),
    )


def is_database_command(words: list[str]) -> bool:
    """Whether a command, split into words, is trusted to reach the database (6.4)."""
    return bool(is_database_action(words))


def parse_yaml(text: bytes, filename: str) -> Any:  # noqa: ANN401 - YAML may hold anything
    """Any YAML document; its parser's complaints name ``filename``.

    Raises:
        YAMLError: the text is not YAML; the message is the parser's.
        StandsForTooMuch: it would come to far more than it is long.
    """
    check_limits(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return parse_yaml_file(text, filename=filename)


def _command(name: str, words: list[str], config: dict[Any, Any] | None) -> str:
    """The run command in its normal form, with the configuration as its last argument."""
    if config:
        if _size(config) > _LARGEST_CONFIG:
            raise _invalid(f"`config` section for action {name} is too large")
        try:
            text = json.dumps(config)
        except (TypeError, ValueError) as error:
            raise _invalid(
                f"`config` section for action {name} cannot be written as JSON: {error}"
            ) from error
        # Without apostrophes no shell ever has to quote within the quotes.
        words = [*words, "--config", text.replace("'", r"\u0027")]
    command = shlex.join(words)
    if len(command) > _LONGEST_COMMAND:
        raise _invalid(f"The `run` command of action {name} is too long")
    return command


def _invalid(sentence: str) -> RequestRefused:
    return RequestRefused(RefusalKind.PROJECT, f"Invalid project: \n{sentence}")


def _what_is_wrong(text: bytes) -> str:
    """A sentence about a file that the library's rules do not foresee and it stumbles over."""
    try:
        document = parse_yaml(text, "project.yaml")
    except Exception:  # noqa: BLE001 - as above
        return "The file is not valid YAML in UTF-8"
    try:
        return _what_is_wrong_with(document)
    except (TypeError, ValueError, LookupError, AttributeError):
        return "The file has a structure that cannot be understood"


def _what_is_wrong_with(document: Any) -> str:  # noqa: ANN401 - YAML may hold anything
    if not isinstance(document, dict):
        return "The file must be a dictionary of key/value pairs, with `version` and `actions`"
    if any(not isinstance(key, str) for key in document):
        return "The names of the sections must be strings"
    version = document.get("version")
    if isinstance(version, str | int | float) and float(version) > LATEST_VERSION:
        return (
            f"Project `version` is {version}, but the latest version known here is {LATEST_VERSION}"
        )
    for name, action in document.get("actions", {}).items():
        if isinstance(action, dict) and (problem := _what_is_wrong_with_action(action)):
            return f"{problem} for action {name}"
    return "The file has a structure that cannot be understood"


def _what_is_wrong_with_action(action: dict[Any, Any]) -> str | None:
    if any(not isinstance(key, str) or key == "action_id" for key in action):
        return "Unexpected parameters"
    try:
        if not shlex.split(str(action.get("run"))):
            return "`run` section is empty"
    except ValueError as error:
        return f"`run` section cannot be split into words ({error})"
    if any(not isinstance(need, str) for need in action.get("needs") or ()):
        return "`needs` section must be a list of action names, which are strings,"
    outputs = action.get("outputs", {})
    if any(not isinstance(key, str) or key == "action_id" for key in outputs):
        return "Unexpected parameters in `outputs` section"
    return None


def _size(value: object, known: dict[int, int] | None = None) -> int:
    """How much text a value would be as JSON, at least.

    Counted without writing it out: with YAML's aliases a few lines can stand for gigabytes.
    """
    known = {} if known is None else known
    if id(value) in known:
        return known[id(value)]
    known[id(value)] = 0
    if isinstance(value, dict):
        size = sum(_size(key, known) + _size(item, known) for key, item in value.items()) + 2
    elif isinstance(value, list):
        size = sum(_size(item, known) for item in value) + 2
    else:
        size = len(str(value))
    known[id(value)] = size
    return size
