"""The ``action.yaml`` of a reusable action: the command that it stands for
(docs/spec/controller.md 7).
"""

import shlex
from typing import Any

from rap.errors import RapError
from rap.models import ALLOWED_RUNTIMES
from rap.project import LARGEST_FILE, YAMLError, is_database_command, parse_yaml
from rap.yaml_limits import StandsForTooMuch

ACTION_FILE = "action.yaml"


class ReusableActionError(RapError):
    """A reusable action cannot be used; the text says why and does not yet name the job."""


def parse_action(text: bytes) -> tuple[str, ...]:
    """The words of the ``run`` command in an ``action.yaml``, which may be run here.

    As costly as :func:`rap.project.parse_project`.

    Raises:
        ReusableActionError: it may not, or there is none.
        YAMLError: the text is not YAML; the message is the parser's.
    """
    document = _document(text)
    if not isinstance(document, dict):
        raise ReusableActionError(f"'{ACTION_FILE}' must be a dictionary of key/value pairs")
    if "run" not in document:
        raise ReusableActionError(f"Missing `run` key in '{ACTION_FILE}'")
    command = document["run"] or ""
    if not isinstance(command, str):
        raise ReusableActionError("`run` must be a string")
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ReusableActionError(f"`run` cannot be split into words: {error}") from error
    image, _, version = words[0].partition(":") if words else ("", "", "")
    if not image or not version or ":" in version:
        raise ReusableActionError("`run` must start with a runtime and its version, as `python:v2`")
    if image not in ALLOWED_RUNTIMES:
        raise ReusableActionError(f"Unrecognised runtime: {image}")
    if is_database_command(words):
        raise ReusableActionError("Re-usable actions cannot run commands which access the database")
    return tuple(words)


def _document(text: bytes) -> Any:  # noqa: ANN401 - YAML may hold anything
    if len(text) > LARGEST_FILE:
        raise ReusableActionError("The file is too large")
    if b"\0" in text:
        raise ReusableActionError("The file contains a NUL character, which no text may")
    try:
        return parse_yaml(text, ACTION_FILE)
    except StandsForTooMuch as error:
        raise ReusableActionError(str(error)) from error
    except (YAMLError, MemoryError):
        raise
    except Exception as error:  # its author must not choose which errors of the library we foresee
        raise ReusableActionError("The file has a structure that cannot be understood") from error
