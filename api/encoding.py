"""JSON as the API sends it (docs/spec/rap-api.md A2): ASCII only."""

import codecs
import json
from typing import Any

import orjson

_ERRORS = "rap_api_json_escapes"


def _escapes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    # Characters beyond ASCII stand in strings alone, so the escapes of a string fit everywhere.
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(_ERRORS, _escapes)


def encoded(content: dict[str, Any]) -> bytes:
    """A large answer as ASCII bytes, without spaces between its parts.

    An :class:`orjson.Fragment` within it is JSON already and taken as it is.
    """
    data = orjson.dumps(content)
    return data if data.isascii() else data.decode().encode("ascii", _ERRORS)
