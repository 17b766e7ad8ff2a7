"""The OpenAPI document of the API (docs/spec/rap-api.md A9), served as ``spec.json``.

Written by hand, because its request schemas are the ones enforced, and what is promised here must
not change when a handler does.
"""

from typing import Any

from api.request_bodies import CANCEL, CREATE, RAP_ID, STATUS
from rap.status import State, StatusCode

_ANY_STRING = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_SECONDS = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{6})?Z$"
_MOMENT = {"type": "string", "pattern": _SECONDS}
_MOMENT_OR_NULL = {"type": ["string", "null"], "pattern": _SECONDS}
_SWITCH = {"type": "string", "enum": ["on", "off"]}


def _object(**members: object) -> dict[str, Any]:
    return {"type": "object", "required": list(members), "properties": members}


_JOB = {
    **_object(
        identifier={"type": "string", "pattern": "^[a-z2-7]{16}$"},
        rap_id=RAP_ID,
        backend=_ANY_STRING,
        action=_ANY_STRING,
        run_command=_ANY_STRING,
        status={"type": "string", "enum": [state.value for state in State]},
        status_code={"type": "string", "enum": [code.value for code in StatusCode]},
        status_message=_ANY_STRING,
        created_at=_MOMENT,
        updated_at=_MOMENT_OR_NULL,
        started_at=_MOMENT_OR_NULL,
        completed_at=_MOMENT_OR_NULL,
        trace_context={"type": ["object", "null"], "description": "A W3C trace carrier."},
        metrics={
            "type": "object",
            "description": "CPU in percent of one core, memory in MiB; empty until measured.",
        },
        requires_db={"type": "boolean"},
    ),
    "additionalProperties": False,
}
_BACKEND = _object(
    slug=_ANY_STRING,
    last_seen=_MOMENT_OR_NULL,
    paused=_object(status=_SWITCH, since=_MOMENT_OR_NULL),
    db_maintenance=_object(
        status=_SWITCH, since=_MOMENT_OR_NULL, type={"enum": ["manual", "scheduled", None]}
    ),
)
_ERROR = _object(error=_ANY_STRING, details=_ANY_STRING)
_MISSING = _object(error=_ANY_STRING, details=_ANY_STRING, rap_id=RAP_ID)
_MISSING["properties"]["not_found"] = {"type": "array", "items": _ANY_STRING}
_RESULT = _object(result=_ANY_STRING, details=_ANY_STRING, rap_id=RAP_ID, count=_COUNT)


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_LINKS: dict[str, Any] = {
    "status": {
        "operationId": "rap_status",
        "requestBody": {"rap_ids": ["$response.body#/rap_id"]},
        "description": "Follow the jobs of the RAP.",
    },
    "cancel": {
        "operationId": "rap_cancel",
        "requestBody": {
            "rap_id": "$response.body#/rap_id",
            "actions": "$request.body#/requested_actions",
        },
        "description": "Cancel the jobs that were asked for.",
    },
}
_LINKED = {"links": _LINKS}
_UNAUTHORIZED = {"401": _answer("There is no token, or it is not known.", _ref("Error"))}
_INVALID = {"400": _answer("The body is not JSON, or not of the right form.", _ref("Error"))}


def _post(
    name: str, summary: str, description: str, body: str, answers: dict[str, Any]
) -> dict[str, Any]:
    content = {"application/json": {"schema": _ref(body)}}
    return {
        "post": {
            "operationId": name,
            "tags": ["rap_operations"],
            "summary": summary,
            "description": description,
            "requestBody": {"required": True, "content": content},
            "responses": answers,
        }
    }


DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {
        "title": "RAP API",
        "version": "v1",
        "description": (
            "Runs the actions of a study inside a secure backend. A RAP is one request for a set "
            "of actions in a workspace; a job is one run of one action."
        ),
    },
    "servers": [{"url": "/controller/v1/"}],
    "security": [{"token": []}],
    "tags": [
        {"name": "backends", "description": "The secure environments."},
        {"name": "rap_operations", "description": "Creating, cancelling and following RAPs."},
    ],
    "paths": {
        "/backend/status/": {
            "get": {
                "operationId": "backend_status",
                "tags": ["backends"],
                "summary": "Flags of the backends that the token covers",
                "description": (
                    "When each backend was last in contact, and whether it is paused or its "
                    "database in maintenance, with the times of the last changes."
                ),
                "responses": {
                    "200": _answer(
                        "The backends, in the configured order.",
                        _object(backends={"type": "array", "items": _ref("Backend")}),
                    ),
                    **_UNAUTHORIZED,
                },
            }
        },
        "/rap/create/": _post(
            "rap_create",
            "Create a RAP",
            "Creates jobs for the requested actions and for those they need. The same request may "
            "be sent again: jobs are created once. An answer that is not JSON says nothing about "
            "the outcome; ask for the status of the RAP then.",
            "Create",
            {
                "200": _answer(
                    "The jobs exist already, or there is nothing to do (`count` is 0).",
                    _ref("CreateResult"),
                )
                | _LINKED,
                "201": _answer("The jobs were created.", _ref("CreateResult")) | _LINKED,
                "400": _answer(
                    "The request is invalid or cannot be carried out; nothing was created.",
                    _ref("Error"),
                ),
                **_UNAUTHORIZED,
            },
        ),
        "/rap/cancel/": _post(
            "rap_cancel",
            "Cancel actions of a RAP",
            "Cancels the jobs of all the actions, or of none if one of them is unknown. Jobs that "
            "have finished stay as they are.",
            "Cancel",
            {
                "200": _answer(
                    "The jobs will end soon.",
                    _object(result=_ANY_STRING, details=_ANY_STRING, count=_COUNT),
                ),
                **_INVALID,
                **_UNAUTHORIZED,
                "404": _answer("There is no such RAP, or no such action in it.", _ref("Missing")),
            },
        ),
        "/rap/status/": _post(
            "rap_status",
            "Jobs of any number of RAPs",
            "All jobs of the RAPs, by RAP, dependencies first, for as long as anybody asks; and "
            "which of the RAPs have none.",
            "Status",
            {
                "200": _answer(
                    "The jobs.",
                    _object(
                        jobs={"type": "array", "items": _ref("Job")},
                        unrecognised_rap_ids={"type": "array", "items": RAP_ID},
                    ),
                ),
                **_INVALID,
                **_UNAUTHORIZED,
            },
        ),
    },
    "components": {
        "securitySchemes": {
            "token": {
                "type": "apiKey",
                "in": "header",
                "name": "Authorization",
                "description": "The bare token, without a scheme in front of it.",
            }
        },
        "schemas": {
            "Create": CREATE,
            "Cancel": CANCEL,
            "Status": STATUS,
            "CreateResult": _RESULT,
            "Backend": _BACKEND,
            "Job": _JOB,
            "Error": _ERROR,
            "Missing": _MISSING,
        },
    },
}
