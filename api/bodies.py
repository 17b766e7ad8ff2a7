"""Reading and checking the body of a request (rap-api.md A4)."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from typing import Any

from fastapi import Request
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from api.errors import BodyTooLarge, BodyTooSlow, Refused
from api.quick_check import quick_check
from api.schemas import Schema

MAX_BODY_BYTES = 5 * 1024 * 1024 // 2
LARGE_BODY_BYTES = 64 * 1024
"""Larger ones are read beside the event loop."""
ARRIVES_WITHIN = 20.0
"""Seconds that a body may take to arrive."""

Body = dict[str, Any]


def reader(schema: Schema) -> Callable[[Request], Awaitable[Body]]:
    """What reads a body that fits ``schema``; members that the schema does not know are dropped.

    Its result raises :class:`Refused` with the one problem that the API reports, or
    :class:`BodyTooLarge`.
    """
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    is_valid = quick_check(schema)

    def body_of(raw: bytes) -> Body:
        try:
            body = _parsed(raw)
            error = None if is_valid(body) else best_match(validator.iter_errors(body))
            problem = None if error is None else (error.json_path, error.message)
        except RecursionError:  # nested a thousand deep; showing such a value is as hard
            raise _unparsable() from None
        if problem is not None:
            raise _invalid(*problem)
        known = _known(body, schema)
        # What cannot be stored cannot be in a body as it is, only as an escape.
        for path, text in _texts(known, "$") if b"\\u" in raw else ():
            if not _is_storable(text):
                raise _invalid(path, f"{text!r} holds a character that cannot be stored")
        return dict(known)

    async def read(request: Request) -> Body:
        raw = await _raw(request)
        if len(raw) > LARGE_BODY_BYTES:
            return await asyncio.to_thread(body_of, raw)
        return body_of(raw)

    return read


async def _raw(request: Request) -> bytes:
    parts, size = [], 0
    try:
        async with asyncio.timeout(ARRIVES_WITHIN):
            async for part in request.stream():
                size += len(part)
                if size > MAX_BODY_BYTES:
                    raise BodyTooLarge
                parts.append(part)
    except TimeoutError as error:
        raise BodyTooSlow from error
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


def _known(value: Any, schema: Schema) -> Any:  # noqa: ANN401 - whatever JSON can hold
    if not isinstance(value, dict):
        return value
    members = schema.get("properties", {})
    return {name: _known(value[name], rule) for name, rule in members.items() if name in value}


def _texts(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield from _texts(member, f"{path}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{path}[{index}]")


def _is_storable(text: str) -> bool:
    if text.isascii():
        return "\0" not in text
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
        return False
    return "\0" not in text
