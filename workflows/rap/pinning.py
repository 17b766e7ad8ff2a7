"""From the tag of a job's image to what the registry says that it stands for now."""

from collections.abc import Callable

from temporalio.exceptions import ActivityError

from rap.egress import Fault
from rap.messages.workspaces import RapStart
from rap.models import ImageAnswer
from rap.status import StatusCode
from workflows.image_digests import ImageQuestions
from workflows.job.conclusion import FIRST_PAUSE_S, LONGEST_PAUSE_S, failed_for
from workflows.job.definition import image_of
from workflows.rap.progress import Progress


class Pinning:
    """Pins the images of a RAP's jobs; ``enter`` shows what becomes of a job meanwhile."""

    def __init__(
        self, start: RapStart, *, enter: Callable[[Progress, StatusCode, str], None]
    ) -> None:
        self._start, self._enter = start, enter
        self._questions = ImageQuestions()

    async def pin(self, job: Progress) -> ImageAnswer | None:
        """Find out which image the job's tag stands for; nothing if the job is over instead.

        A registry that does not answer holds up this job alone, and says so in its message.
        """
        if not self._start.pins_images:
            # Whatever the tag names on the host.
            return ImageAnswer()
        pause = FIRST_PAUSE_S
        while not job.is_over:
            try:
                answer = await self._questions.ask(image_of(job.spec, self._start.image_registry))
            except ActivityError:
                if job.is_over:
                    return None
                self._enter(job, *job.waiting_code("the image registry does not answer"))
                await job.wait(seconds=pause, summary=f"{job.spec.action}: ask the registry again")
                pause = min(pause * 2, LONGEST_PAUSE_S)
                continue
            if answer.digest is not None:
                return answer
            if not job.is_over:
                end = failed_for(Fault.IMAGE_UNAVAILABLE)
                self._enter(job, end.code, end.message)
        return None
