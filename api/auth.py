"""Who may see which backends (docs/spec/rap-api.md A3)."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import Request

from api.errors import Refused


@dataclass(frozen=True, slots=True)
class Client:
    """Whoever sent a request: nothing is known of it but what its token covers."""

    backends: tuple[str, ...]
    """In the order of ``BACKENDS``; never empty."""


class Tokens:
    """The client tokens and their backends."""

    def __init__(self, backends_of: Mapping[str, tuple[str, ...]]) -> None:
        self._clients = [
            (token.encode(), Client(tuple(dict.fromkeys(backends))))
            for token, backends in backends_of.items()
            if token.isascii()
        ]

    def client(self, request: Request) -> Client:
        """The client of a request.

        Raises:
            Refused: there is no token, or nobody has it.
        """
        # Several headers are one value with commas, which is nobody's token.
        given = ",".join(request.headers.getlist("Authorization")).strip(" \t")
        if not given:
            raise Refused(HTTPStatus.UNAUTHORIZED, "Unauthorized", "No token provided")
        found = None
        for token, client in self._clients:
            # All are compared, each in constant time, so that the time tells nothing about them.
            if hmac.compare_digest(token, given.encode()):
                found = client
        if found is None:
            raise Refused(HTTPStatus.UNAUTHORIZED, "Unauthorized", "Invalid token")
        return found
