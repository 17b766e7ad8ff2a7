"""The request bodies as JSON schemas; published in ``spec.json`` and enforced (rap-api.md A6-A8).

The order matters: of several missing properties the first is named, and ``type`` stands before the
other rules of a value, so that it is reported before them.
"""

from typing import Any

Schema = dict[str, Any]

RAP_ID: Schema = {
    "type": "string",
    "pattern": "^[a-z0-9]{16}$",
    "description": "Identity of the RAP, chosen by the client, unique for ever.",
}


def _text(description: str, **rules: object) -> Schema:
    return {"type": "string", **rules, "description": description}


def _permissions(description: str, *names: str) -> Schema:
    return {
        "type": "array",
        "items": {"type": "string", "enum": list(names)},
        "description": description,
    }


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
    "requested_actions": {
        "type": "array",
        "minItems": 1,
        "items": {"type": "string"},
        "description": "Names of actions, or `run_all`.",
    },
    "codelists_ok": {
        "type": "boolean",
        "description": "If false, the request is refused when a new job needs the database.",
    },
    "force_run_dependencies": {
        "type": "boolean",
        "description": "Run dependencies again that have succeeded.",
    },
    "created_by": _text("The user's name."),
    "project": _text("Slug of the project."),
    "orgs": {
        "type": "array",
        "items": {"type": "string"},
        "description": "Slugs of the organisations behind the project.",
    },
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
        "actions": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string"},
            "description": "Names of the actions whose jobs are to be cancelled.",
        },
    },
}

STATUS: Schema = {
    "type": "object",
    "required": ["rap_ids"],
    "properties": {
        "rap_ids": {
            "type": "array",
            "items": RAP_ID,
            "description": "Any number of RAPs, also none.",
        }
    },
}
