"""Asking which image a tag stands for, once for all jobs that ask at the same time."""

import asyncio
from datetime import timedelta

from rap.contracts.activities import RESOLVE_IMAGE
from rap.models import ImageAnswer, ImageRequest
from workflows.calls import on_controller

LIMIT = timedelta(seconds=60)


async def digest_of(image: str) -> ImageAnswer:
    """Find out what a tag stands for now.

    Raises:
        ActivityError: the registry does not answer.
    """
    question = ImageRequest(image=image)
    return await on_controller(RESOLVE_IMAGE, question, limit=LIMIT, summary=f"digest of {image}")


class ImageQuestions:
    """The questions to the registry that are under way."""

    def __init__(self) -> None:
        self._asking: dict[str, asyncio.Task[ImageAnswer]] = {}

    async def ask(self, image: str) -> ImageAnswer:
        """As :func:`digest_of`."""
        asking = self._asking.get(image)
        if asking is None:
            asking = self._asking[image] = asyncio.create_task(digest_of(image))
            asking.add_done_callback(lambda _: self._asking.pop(image))
        return await asyncio.shield(asking)
