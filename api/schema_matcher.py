"""Tells fast whether a value matches a JSON schema, and nothing about what is wrong with it.

A status request may name a hundred thousand RAPs, and a validator that can say what is wrong takes
a second for that. So it is only asked about what does not match here.
"""

import re
from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]
Matches = Callable[[Any], bool]

_TYPES: dict[str, type] = {"string": str, "boolean": bool, "object": dict, "array": list}
_KNOWN = frozenset(
    {"type", "description", "pattern", "enum", "minItems", "items", "required", "properties"}
)


def matcher(schema: Schema) -> Matches:
    """What says whether a parsed JSON value matches ``schema``.

    Raises:
        ValueError: the schema has a rule that is not known here.
    """
    unknown = schema.keys() - _KNOWN
    if unknown:
        raise ValueError(f"There is no matcher for {', '.join(sorted(unknown))}.")
    kind = _TYPES[schema["type"]]
    if kind is list:
        return _array(schema)
    if kind is dict:
        return _object(schema)
    if "pattern" in schema:
        found = re.compile(schema["pattern"]).search
        return lambda value: type(value) is str and found(value) is not None
    if "enum" in schema:
        allowed = frozenset(schema["enum"])
        return lambda value: type(value) is kind and value in allowed
    return lambda value: type(value) is kind


def _array(schema: Schema) -> Matches:
    least, matches = schema.get("minItems", 0), matcher(schema["items"])
    return lambda value: type(value) is list and len(value) >= least and all(map(matches, value))


def _object(schema: Schema) -> Matches:
    required = frozenset(schema.get("required", ()))
    members = [(name, matcher(rule)) for name, rule in schema["properties"].items()]

    def matches(value: object) -> bool:
        return (
            type(value) is dict
            and required <= value.keys()
            and all(
                member_matches(value[name]) for name, member_matches in members if name in value
            )
        )

    return matches
