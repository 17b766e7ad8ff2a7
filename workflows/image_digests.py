"""Asking which image a tag stands for, once for all jobs that ask at the same time."""

import asyncio
from datetime import timedelta

from activities.contracts import RESOLVE_IMAGE
from rap.models import ImageAnswer, ImageRequest
from workflows.calls import on_controller

LIMIT = timedelta(seconds=60)


class ImageQuestions:
    """The questions to the registry that are under way."""

    def __init__(self) -> None:
        self._asking: dict[str, asyncio.Task[ImageAnswer]] = {}

    async def ask(self, image: str) -> ImageAnswer:
        """Find out what a tag stands for now.

        Raises:
            ActivityError: the registry does not answer.
        """
        asking = self._asking.get(image)
        if asking is None:
            asking = asyncio.create_task(
                on_controller(
                    RESOLVE_IMAGE,
                    ImageRequest(image=image),
                    limit=LIMIT,
                    summary=f"digest of {image}",
                )
            )
            self._asking[image] = asking
            asking.add_done_callback(lambda _: self._asking.pop(image))
        return await asyncio.shield(asking)
