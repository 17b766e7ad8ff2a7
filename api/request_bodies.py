"""The bodies of requests: their JSON schemas, and how one is read, checked and kept.

The schemas are published in ``spec.json`` and enforced (docs/spec/rap-api.md A4, A6, A7, A8). Their
order matters: of several missing properties the first is named, and ``type`` stands before the
other rules of a value, so that it is reported before them.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from typing import Any

from fastapi import Request
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from starlette.exceptions import HTTPException

from api.errors import Refused
from api.schema_matcher import Schema, matcher
from api.services import Services

MAX_BODY_BYTES = 5 * 1024 * 1024 // 2
LARGE_BODY_BYTES = 64 * 1024
"""Larger ones are read beside the event loop."""

Body = dict[str, Any]

RAP_ID: Schema = {
    "type": "string",
    "pattern": "^[a-z0-9]{16}$",
    "description": "Identity of the RAP, chosen by the client, unique for ever.",
}


def _text(description: str, **rules: object) -> Schema:
    return {"type": "string", **rules, "description": description}


def _flag(description: str) -> Schema:
    return {"type": "boolean", "description": description}


def _list(description: str, items: Schema, **rules: object) -> Schema:
    return {"type": "array", **rules, "items": items, "description": description}


def _permissions(description: str, *names: str) -> Schema:
    return _list(description, {"type": "string", "enum": list(names)})


_STRING = {"type": "string"}

ANALYSIS_SCOPE: Schema = {
    "type": "object",
    "description": "What the project may analyse; absent and empty mean the same.",
    "properties": {
        "dataset_permissions": _permissions(
            "Restricted datasets that the study may read.",
            "appointments",
            "icnarc",
            "isaric",
            "open_prompt",
            "ukrr",
            "waiting_list",
            "sgss_covid_all_tests",
            "occupation_on_covid_vaccine_record",
            "covid_therapeutics",
        ),
        "population_permissions": _permissions(
            "Populations that the study may include.",
            "include_ndoo",
            "include_t1oo",
            "include_gp_unactivated",
        ),
        "component_access": _permissions("Restricted components.", "event_level_data"),
    },
}

_CREATE: dict[str, Schema] = {
    "backend": _text("Where the jobs run."),
    "rap_id": RAP_ID,
    "workspace": _text("Namespace of the outputs.", pattern="[a-zA-Z0-9_-]+"),
    "repo_url": _text("Repository of the study."),
    "branch": _text("A branch that holds the commit."),
    "commit": _text("The code to run.", pattern="^[0-9a-f]{40}$"),
    "database_name": _text("The database to use.", enum=["default"]),
    "requested_actions": _list("Names of actions, or `run_all`.", _STRING, minItems=1),
    "codelists_ok": _flag("If false, the request is refused when a new job needs the database."),
    "force_run_dependencies": _flag("Run dependencies again that have succeeded."),
    "created_by": _text("The user's name."),
    "project": _text("Slug of the project."),
    "orgs": _list("Slugs of the organisations behind the project.", _STRING),
}

CREATE: Schema = {
    "type": "object",
    "required": list(_CREATE),
    "properties": {**_CREATE, "analysis_scope": ANALYSIS_SCOPE},
}

CANCEL: Schema = {
    "type": "object",
    "required": ["rap_id", "actions"],
    "properties": {
        "rap_id": RAP_ID,
        "actions": _list(
            "Names of the actions whose jobs are to be cancelled.", _STRING, minItems=1
        ),
    },
}

STATUS: Schema = {
    "type": "object",
    "required": ["rap_ids"],
    "properties": {"rap_ids": _list("Any number of RAPs, also none.", RAP_ID)},
}


def known_members(value: Any, schema: Schema) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """The members of a valid body that ``schema`` knows, at every depth; the others are ignored."""
    if not isinstance(value, dict):
        return value
    rules = schema.get("properties", {})
    return {name: known_members(value[name], rules[name]) for name in rules if name in value}


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""The null character, and half of a surrogate pair, which JSON can spell."""


def reader(schema: Schema) -> Callable[[Request], Awaitable[Body]]:
    """What reads a body that fits ``schema``; members that the schema does not know are dropped.

    Its result raises :class:`Refused` with the one problem that the API reports, and an
    ``HTTPException`` for a body that is too large or arrives too slowly.
    """
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    matches = matcher(schema)

    def body_of(raw: bytes) -> Body:
        try:
            body = _parsed(raw)
            error = None if matches(body) else best_match(validator.iter_errors(body))
            if error is not None:
                raise _invalid(error.json_path, error.message)
        except RecursionError:  # nested a thousand deep; showing such a value is as hard
            raise _unparsable() from None
        known = known_members(body, schema)
        # What cannot be stored cannot be in a body as it is, only as an escape.
        for path, text in _texts(known, "$") if b"\\u" in raw else ():
            if _UNSTORABLE.search(text):
                raise _invalid(path, f"{text!r} holds a character that cannot be stored")
        return dict(known)

    async def read(request: Request) -> Body:
        raw = await _raw(request)
        if len(raw) > LARGE_BODY_BYTES:
            return await asyncio.to_thread(body_of, raw)
        return body_of(raw)

    return read


async def _raw(request: Request) -> bytes:
    services: Services = request.app.state.services
    parts, size = [], 0
    try:
        async with asyncio.timeout(services.body_timeout):
            async for part in request.stream():
                size += len(part)
                if size > MAX_BODY_BYTES:
                    raise HTTPException(
                        HTTPStatus.BAD_REQUEST, "The body of the request is too large."
                    )
                parts.append(part)
    except TimeoutError as error:
        raise HTTPException(
            HTTPStatus.REQUEST_TIMEOUT, "The body of the request did not arrive."
        ) from error
    return b"".join(parts)


def _parsed(raw: bytes) -> Any:  # noqa: ANN401 - whatever JSON can hold
    try:
        # Decoded here, because the parser would guess at other encodings.
        return json.loads(raw.decode("utf-8"))
    except ValueError:
        raise _unparsable() from None


def _unparsable() -> Refused:
    return Refused(
        HTTPStatus.BAD_REQUEST, "Validation error", "could not parse JSON from request body"
    )


def _invalid(path: str, problem: str) -> Refused:
    at = "" if path == "$" else f" at {path}"
    details = f"Invalid request body received{at}: {problem}"
    return Refused(HTTPStatus.BAD_REQUEST, "Validation error", details)


def _texts(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield from _texts(member, f"{path}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{path}[{index}]")
