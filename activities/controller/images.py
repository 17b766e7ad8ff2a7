"""The controller's activity that finds out which image a tag stands for."""

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.contracts import RESOLVE_IMAGE
from rap.errors import Unavailable
from rap.models import ImageAnswer, ImageRequest
from worker_controller.registry import Registry, UnknownImage


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
        except UnknownImage:
            return ImageAnswer()
        except Unavailable as error:
            raise ApplicationError(str(error), type="Unavailable") from None
