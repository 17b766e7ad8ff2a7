"""Image digests from a registry (docs/spec/controller.md 10.4): the registry v2
API, read anonymously.

A digest is asked for afresh each time; the last one known of an image stands in for an answer that
does not come, so that jobs go on while the registry is away.
"""

import asyncio
import re

import httpx
import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError

from rap.contracts.activities import RESOLVE_IMAGE
from rap.errors import Unavailable
from rap.models import ImageAnswer, ImageRequest

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


class Registry:
    """The registry at ``api``, such as ``https://ghcr.io``.

    One request may take ``limit_s`` seconds, a whole question twice as long.
    """

    def __init__(self, api: str, *, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._remembered: dict[str, str] = {}
        self._tokens: dict[str, str] = {}
        self._client = httpx.AsyncClient(
            base_url=api.rstrip("/"), timeout=limit_s, follow_redirects=True
        )

    async def digest(self, image: str) -> str | None:
        """The content digest that an image's full name with a tag stands for, ``sha256:…``.

        ``None`` if the registry answers, and has no such image or tag.

        Raises:
            Unavailable: no usable answer, and none remembered.
        """
        try:
            # The client's own limit is for each read; a trickle must not hold a job up either.
            async with asyncio.timeout(2 * self._limit_s):
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
        if digest:
            self._remembered[image] = digest
        return digest

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _ask(self, image: str) -> str | None:
        name, _, tag = image.partition("/")[2].rpartition(":")
        answer = await self._head(name, tag)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            await self._renew_token(name, answer.headers.get("www-authenticate", ""))
            answer = await self._head(name, tag)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        answer.raise_for_status()
        digest = str(answer.headers.get("docker-content-digest", ""))
        if not DIGEST.fullmatch(digest):
            raise ValueError("no digest in the registry's answer")
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
            raise ValueError("the registry wants credentials of an unknown kind")
        wanted = {key: asked[key] for key in ("service", "scope") if key in asked}
        answer = await self._client.get(realm, params=wanted)
        answer.raise_for_status()
        token = answer.json().get("token")
        if not isinstance(token, str):
            raise ValueError("the registry's token service gave no token")  # noqa: TRY004
        self._tokens[name] = token


class ImageActivities:
    """Asks the registry of the job images."""

    def __init__(self, registry: Registry | None) -> None:
        self._registry = registry

    @activity.defn(name=RESOLVE_IMAGE.name)
    async def resolve_image(self, request: ImageRequest) -> ImageAnswer:
        """The digest that a tag stands for now; none if there is no such image.

        Raises:
            ApplicationError: the registry does not answer and the digest is not remembered.
        """
        if self._registry is None:
            # The setting was taken away while a RAP ran that was planned with it.
            raise ApplicationError("No registry is configured", type="Unavailable")
        try:
            return ImageAnswer(digest=await self._registry.digest(request.image))
        except Unavailable as error:
            raise ApplicationError(str(error), type="Unavailable") from None
