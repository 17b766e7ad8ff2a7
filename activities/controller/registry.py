"""Image digests from a registry (controller.md 10.4): the registry v2 API, read anonymously.

A digest is asked for afresh each time; the last one known of an image stands in for an answer that
does not come, so that jobs go on while the registry is away.
"""

import asyncio
import re
from dataclasses import dataclass, field

import httpx
import structlog

from rap.errors import RapError, Unavailable

log = structlog.get_logger()

LIMIT_S = 10.0
MANIFEST_TYPES = ",".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
    )
)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class UnknownImage(RapError):
    """The registry answers, and has no such image or tag."""


class _UnusableAnswerError(ValueError):
    """The registry, or its token service, says something we cannot use."""


@dataclass
class Registry:
    """One registry.

    Args:
        api: its address, such as ``https://ghcr.io``.
        limit_s: seconds that one request may take; a whole question twice as long.
    """

    api: str
    limit_s: float = LIMIT_S
    _remembered: dict[str, str] = field(default_factory=dict)
    _tokens: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._client = httpx.AsyncClient(
            base_url=self.api.rstrip("/"), timeout=self.limit_s, follow_redirects=True
        )

    async def digest(self, image: str) -> str:
        """The content digest that a tag stands for, ``sha256:…``.

        Args:
            image: full name, with the registry's host and with a tag.

        Raises:
            UnknownImage: there is no such tag.
            Unavailable: no usable answer, and none remembered.
        """
        try:
            # The client's own limit is for each read; a trickle must not hold a job up either.
            async with asyncio.timeout(2 * self.limit_s):
                digest = await self._ask(image)
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
            remembered = self._remembered.get(image)
            log.warning(
                "The image registry gave no digest",
                image=image,
                why=type(error).__name__,
                remembered=remembered is not None,
            )
            if remembered is None:
                raise Unavailable(f"The image registry gave no digest of {image}.") from error
            return remembered
        self._remembered[image] = digest
        return digest

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _ask(self, image: str) -> str:
        name, _, tag = image.partition("/")[2].rpartition(":")
        answer = await self._head(name, tag)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            await self._renew_token(name, answer.headers.get("www-authenticate", ""))
            answer = await self._head(name, tag)
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise UnknownImage(f"The registry has no image {image}.")
        answer.raise_for_status()
        digest = str(answer.headers.get("docker-content-digest", ""))
        if not DIGEST.fullmatch(digest):
            raise _UnusableAnswerError("no digest in the registry's answer")
        return digest

    async def _head(self, name: str, tag: str) -> httpx.Response:
        headers = {"Accept": MANIFEST_TYPES}
        if name in self._tokens:
            headers["Authorization"] = f"Bearer {self._tokens[name]}"
        return await self._client.get(f"/v2/{name}/manifests/{tag}", headers=headers)

    async def _renew_token(self, name: str, challenge: str) -> None:
        """Get an anonymous token from where the registry's challenge points."""
        asked = dict(_PARAMETER.findall(challenge))
        realm = asked.pop("realm", None)
        if realm is None:
            raise _UnusableAnswerError("the registry wants credentials of an unknown kind")
        wanted = {key: asked[key] for key in ("service", "scope") if key in asked}
        answer = await self._client.get(realm, params=wanted)
        answer.raise_for_status()
        token = answer.json().get("token")
        if not isinstance(token, str):
            raise _UnusableAnswerError("no token in the answer of the registry's token service")
        self._tokens[name] = token
