"""What schemathesis cannot know of the API, for ``schemathesis.toml``.

Most creates would name a backend and a study that do not exist, and end there. So most of the valid
ones are given those that do.
"""

import json
import os
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Any

import schemathesis

CREATE = "rap_create"
ASKED_FOR = (["first"], ["second", "first"], ["first"], ["run_all"], ["second"], ["nowhere"])


def is_valid(case: schemathesis.Case) -> bool:
    meta = case.meta
    return meta is not None and meta.generation.mode is schemathesis.GenerationMode.POSITIVE


def operation_id(case: schemathesis.Case) -> str:
    return str(case.operation.definition.raw.get("operationId"))


@schemathesis.hook
def before_call(_context: schemathesis.HookContext, case: schemathesis.Case, _options: Any) -> None:
    if operation_id(case) != CREATE or not is_valid(case) or not isinstance(case.body, dict):
        return
    # Chosen by the body, so that a failing one can be sent again.
    fingerprint = sha256(json.dumps(case.body, sort_keys=True).encode())
    choice = fingerprint.digest()[0]
    if choice % 6:
        case.body = {
            **case.body,
            "backend": "test",
            "workspace": f"workspace-{choice}",
            "repo_url": os.environ["STUDY_URL"],
            "commit": os.environ["STUDY_COMMIT"],
            "branch": "main",
            "requested_actions": [*ASKED_FOR[choice % len(ASKED_FOR)]],
        }
    if choice % 2:
        # Left to itself, it gives most of them the same one.
        case.body["rap_id"] = fingerprint.hexdigest()[:16]


@schemathesis.hook
def after_call(
    _context: schemathesis.HookContext, case: schemathesis.Case, response: schemathesis.Response
) -> None:
    """Note which answers were met, for the test that runs this."""
    with Path(os.environ["MET_ANSWERS"]).open("a") as file:
        file.write(f"{operation_id(case)} {response.status_code}\n")


@schemathesis.check
def valid_bodies_are_not_called_invalid(
    _context: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    if is_valid(case) and response.status_code == HTTPStatus.BAD_REQUEST:
        assert response.json()["error"] != "Validation error", response.text


@schemathesis.check
def json_errors_have_error_and_details(
    _context: schemathesis.CheckContext, response: schemathesis.Response, _case: schemathesis.Case
) -> None:
    if response.status_code < HTTPStatus.BAD_REQUEST:
        return
    try:
        body = response.json()
    except ValueError:
        return
    assert isinstance(body["error"], str)
    assert isinstance(body["details"], str)
    assert "detail" not in body
