"""The search attributes that our workflows carry, and how values are made to fit."""

import json

from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

STATUS_CODE = SearchAttributeKey.for_keyword("StatusCode")
REQUIRES_DB = SearchAttributeKey.for_bool("RequiresDb")
_KEYWORDS: dict[str, SearchAttributeKey[str]] = {
    "rap_id": SearchAttributeKey.for_keyword("RapId"),
    "job_id": SearchAttributeKey.for_keyword("JobId"),
    "backend": SearchAttributeKey.for_keyword("Backend"),
    "workspace": SearchAttributeKey.for_keyword("Workspace"),
    "action": SearchAttributeKey.for_keyword("Action"),
    "status_code": STATUS_CODE,
    "requester": SearchAttributeKey.for_keyword("Requester"),
    "project": SearchAttributeKey.for_keyword("Project"),
}
SEARCH_ATTRIBUTES = {
    **{key.name: "Keyword" for key in _KEYWORDS.values()},
    REQUIRES_DB.name: "Bool",
}
"""Name to type, as ``temporal operator search-attribute create`` and the dev server take them."""
LONGEST_VALUE = 255
"""Characters of a search attribute that PostgreSQL's visibility store takes."""
MOST_BYTES = 2000
"""Of a search attribute as JSON in plain ASCII; Temporal fails a workflow that sets more."""


def search_attributes(**values: str | bool) -> TypedSearchAttributes:
    """Typed search attributes from names in snake case; empty texts are left out.

    What a request or a project file made too long is cut, since it must not stop a workflow.
    """
    pairs: list[SearchAttributePair[str] | SearchAttributePair[bool]] = []
    for name, value in values.items():
        if isinstance(value, bool):
            pairs.append(SearchAttributePair(REQUIRES_DB, value))
        elif value:
            pairs.append(SearchAttributePair(_KEYWORDS[name], _fit(value)))
    return TypedSearchAttributes(pairs)


def _fit(value: str) -> str:
    value = value[:LONGEST_VALUE]
    while len(json.dumps(value)) > MOST_BYTES:
        value = value[:-1]
    return value
