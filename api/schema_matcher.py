"""Telling quickly that a value fits a schema.

A status request may name a hundred thousand RAPs, and a validator that can say what is wrong takes
a second for that. So it is only asked about what does not pass here.
"""

import re
from collections.abc import Callable
from typing import Any

from api.schemas import Schema

Check = Callable[[Any], bool]

_TYPES: dict[str, type] = {"string": str, "boolean": bool, "object": dict, "array": list}
_KNOWN = frozenset(
    {"type", "description", "pattern", "enum", "minItems", "items", "required", "properties"}
)


def quick_check(schema: Schema) -> Check:
    """What says whether a parsed JSON value fits ``schema``.

    Raises:
        ValueError: the schema has a rule that is not known here.
    """
    unknown = schema.keys() - _KNOWN
    if unknown:
        raise ValueError(f"There is no quick check for {', '.join(sorted(unknown))}.")
    kind = _TYPES[schema["type"]]
    if kind is list:
        return _array(schema)
    if kind is dict:
        return _object(schema)
    if "pattern" in schema:
        matches = re.compile(schema["pattern"]).search
        return lambda value: type(value) is str and matches(value) is not None
    if "enum" in schema:
        allowed = frozenset(schema["enum"])
        return lambda value: type(value) is kind and value in allowed
    return lambda value: type(value) is kind


def _array(schema: Schema) -> Check:
    least, fits = schema.get("minItems", 0), quick_check(schema["items"])
    return lambda value: type(value) is list and len(value) >= least and all(map(fits, value))


def _object(schema: Schema) -> Check:
    required = frozenset(schema.get("required", ()))
    members = [(name, quick_check(rule)) for name, rule in schema["properties"].items()]

    def fits(value: object) -> bool:
        return (
            type(value) is dict
            and required <= value.keys()
            and all(check(value[name]) for name, check in members if name in value)
        )

    return fits
